"""The update: what one optimiser step does, however the batch is cut."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from components.policy.loading import Policy
from components.policy.log_probs import score_tokens
from components.policy.packing import Group, pack
from components.recipe import Train
from components.training.critic import Critic
from components.training.experience import Experience, Rollouts, critic_experience, group_experience
from components.training.update import Totals, micro_batches, optimiser_step, token_matrix, update_critic, update_policy
from tests.tiny_models import moments, same, tiny_policy, weights
from tests.training.rollouts import sampled

REWARDS = [1.0, 0.0, 0.25, 0.5, 0.5, 0.5, 0.0, 1.0, 1.0]  # the second of three groups is silent
K = 3
SETTINGS = Train(prompts=3, k=K, max_grad_norm=1e9)
ORDER = [[2, 0, 1]]


def prepared(rewards: list[float] = REWARDS) -> tuple[Rollouts, Experience]:
    rollouts = sampled(rewards, K)
    experience = group_experience(rollouts, None, 0.0)
    # as if the policy had moved since it sampled, so that some ratios are clipped
    return rollouts, replace(experience, old_log_probs=experience.old_log_probs + 0.3 * experience.mask.float().cumsum(1).sin())


def moved(rollouts: Rollouts, experience: Experience, settings: Train = SETTINGS) -> list[torch.Tensor]:
    """What plain gradient descent at rate 1 takes off each parameter: its gradient."""
    policy = tiny_policy()
    before = weights(policy.model)
    update_policy(policy, torch.optim.SGD(policy.model.parameters(), lr=1.0), rollouts, experience, settings, ORDER)
    return [a - b for a, b in zip(before, weights(policy.model), strict=True)]


def direct_gradient(rollouts: Rollouts, experience: Experience, kl: float = 0.0) -> list[torch.Tensor]:
    """The gradient of the token mean over all completions, silent ones too, one sequence at a time."""
    model, loss = tiny_policy().model, torch.zeros(())
    for number, completion in enumerate(c for group in rollouts.completions for c in group):
        rows = pack([Group(rollouts.prompts[number // K], [completion.tokens])])
        log_probs, n = score_tokens(model, rows).log_probs, len(completion.tokens)
        ratio = (log_probs - experience.old_log_probs[number, :n]).exp()
        advantage = experience.advantages[number, :n]
        loss = loss - torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum()
        if kl:
            loss = loss + kl * 0.5 * (log_probs - experience.reference_log_probs[number, :n]).square().sum()
    return list(torch.autograd.grad(loss / int(experience.mask.sum()), list(model.parameters())))


def assert_equal_gradients(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-4)  # fp32 sums in another order


def test_leaving_silent_groups_out_changes_nothing() -> None:
    rollouts, experience = prepared()
    assert_equal_gradients(moved(rollouts, experience), direct_gradient(rollouts, experience))


def test_the_kl_in_the_loss_also_pulls_on_silent_groups() -> None:
    rollouts, experience = prepared()
    experience = replace(experience, reference_log_probs=experience.old_log_probs - 0.5)
    settings = SETTINGS.model_copy(update={"kl": "loss", "kl_coefficient": 0.1})
    assert_equal_gradients(moved(rollouts, experience, settings), direct_gradient(rollouts, experience, 0.1))


@pytest.mark.parametrize("micro_tokens", [1, 20, 45])
def test_micro_batches_do_not_change_the_gradient(micro_tokens: int) -> None:
    rollouts, experience = prepared()
    cut = moved(rollouts, experience, SETTINGS.model_copy(update={"micro_tokens": micro_tokens}))
    assert_equal_gradients(cut, moved(rollouts, experience))


@pytest.mark.parametrize("micro_tokens", [1, 20])
def test_micro_batches_do_not_change_the_figures(micro_tokens: int) -> None:
    rollouts, experience = prepared()

    def figures(settings: Train) -> dict[str, float]:
        policy = tiny_policy()
        optimizer = torch.optim.SGD(policy.model.parameters(), lr=1.0)
        return update_policy(policy, optimizer, rollouts, experience, settings, ORDER).means()

    assert figures(SETTINGS.model_copy(update={"micro_tokens": micro_tokens})) == pytest.approx(figures(SETTINGS), rel=1e-4)


def test_equal_rewards_leave_the_weights_alone() -> None:
    rollouts, experience = prepared([0.35] * 9)
    assert all(not difference.any() for difference in moved(rollouts, experience))


@pytest.mark.parametrize(("epochs", "minibatches", "steps"), [(1, 1, 1), (2, 1, 2), (1, 3, 3), (2, 3, 6)])
def test_every_minibatch_of_every_pass_is_a_step(epochs: int, minibatches: int, steps: int) -> None:
    rollouts, experience = prepared([1.0, 0.0, 0.5] * 3)
    policy, settings = tiny_policy(), SETTINGS.model_copy(update={"epochs": epochs, "minibatches": minibatches})
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-3)
    totals = update_policy(policy, optimizer, rollouts, experience, settings, ORDER * epochs)
    assert (totals.steps, totals.skipped) == (steps, 0)
    assert totals.tokens == epochs * int(experience.mask.sum())


def damaged(what: str) -> tuple[Rollouts, Experience]:
    rollouts, experience = prepared()
    tensor = getattr(experience, what).clone()
    tensor[0, 0] = torch.nan
    return rollouts, replace(experience, **{what: tensor})


def stepped_once() -> tuple[Policy, torch.optim.Optimizer]:
    """A policy and an optimiser that has moments to lose."""
    policy = tiny_policy()
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-3)
    update_policy(policy, optimizer, *prepared(), SETTINGS, ORDER)
    return policy, optimizer


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted() -> None:
    policy, optimizer = stepped_once()
    before, moments_before = weights(policy.model), moments(optimizer)
    next(policy.model.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    totals = update_policy(policy, optimizer, *prepared(), SETTINGS, ORDER)
    assert (totals.steps, totals.skipped) == (0, 1)
    assert same(weights(policy.model), before)
    assert same(moments(optimizer), moments_before)


@pytest.mark.parametrize("what", ["old_log_probs", "advantages"])
def test_a_figure_that_is_not_a_number_is_never_trained_on_in_silence(what: str) -> None:
    policy, optimizer = stepped_once()
    totals = update_policy(policy, optimizer, *damaged(what), SETTINGS, ORDER)
    assert (totals.steps, totals.skipped) == (0, 1)


def test_a_skipped_update_leaves_no_gradient_behind() -> None:
    module = torch.nn.Linear(2, 1)
    (module(torch.ones(1, 2)) * torch.inf).sum().backward()
    assert not optimiser_step(module, torch.optim.SGD(module.parameters(), lr=1.0), 1.0, Totals())
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


def test_a_gradient_is_clipped_to_its_largest_norm() -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    before = module.weight.detach().clone()
    module(torch.tensor([[30.0, 40.0]])).sum().backward()  # a gradient of (30, 40), norm 50
    totals = Totals()
    optimiser_step(module, torch.optim.SGD(module.parameters(), lr=1.0), 1.0, totals)
    assert_close(before - module.weight.detach(), torch.tensor([[0.6, 0.8]]))
    assert totals.grad_norm == pytest.approx(50)


def test_a_matrix_of_log_probs_has_each_token_in_its_place() -> None:
    rollouts, model = sampled(REWARDS, K), tiny_policy().model
    matrix = token_matrix(rollouts, lambda rows: score_tokens(model, rows).log_probs, 20, torch.device("cpu"))
    expected, _ = rollouts.padded()
    assert_close(matrix, expected, rtol=0, atol=1e-4)  # cached against packed attention, fp32


def test_micro_batches_hold_at_most_their_limit() -> None:
    groups = [Group([1], [[2] * n]) for n in (2, 3, 9, 1, 1)]  # 3, 4, 10, 2, 2 tokens
    assert micro_batches(groups, [7, 5, 0, 1, 2], 7) == [[7, 5], [0], [1, 2]]


def test_the_critic_learns_the_returns() -> None:
    rollouts = sampled(REWARDS, K)
    critic = Critic(tiny_policy().model)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    settings = SETTINGS.model_copy(update={"value_clip": 10.0})
    experience = critic_experience(rollouts, torch.zeros_like(rollouts.padded()[0]), None, 0.0, 1.0, 1.0)
    losses = [update_critic(critic, optimizer, rollouts, experience, settings, ORDER).means()["value_loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("micro_tokens", [1, 20])
def test_micro_batches_do_not_change_the_critics_update(micro_tokens: int) -> None:
    rollouts = sampled(REWARDS, K)
    experience = critic_experience(rollouts, torch.zeros_like(rollouts.padded()[0]), None, 0.0, 1.0, 0.95)

    def updated(limit: int) -> list[torch.Tensor]:
        critic = Critic(tiny_policy().model)
        settings = SETTINGS.model_copy(update={"micro_tokens": limit})
        update_critic(critic, torch.optim.SGD(critic.parameters(), lr=0.1), rollouts, experience, settings, ORDER * 2)
        return weights(critic)

    assert_equal_gradients(updated(micro_tokens), updated(16_384))
