"""The losses of actor and critic against a slow, direct computation: one sequence at a time, unpacked, nothing left out."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.critic import Critic
from ratchet.components.training.experience import Experience, Scored, build_experience
from ratchet.components.training.meters import Means
from ratchet.components.training.objectives import (
    CLIP_RATIOS,
    CORRECTION,
    MISMATCH,
    ActorObjective,
    UpdateBatch,
    ValueObjective,
)
from ratchet.components.training.update import parameters_of, run_update
from tests.tiny_models import same, tiny_policy, weights
from tests.training.rollouts import sampled

REWARDS = [1.0, 0.0, 0.25, 0.5, 0.5, 0.5, 0.0, 1.0, 1.0]  # the second of three groups is silent
SOME_MISSING = [1.0, None, 0.25, None, None, None, 0.0, 1.0, 1.0]
K, LIMIT, KL = 3, 8, 0.3  # LIMIT: largest number of tokens of a completion
EVERY = [0, 1, 2]

# Clips tight enough that the ratios below, of exp(-0.3) to exp(0.3), leave them on both sides.
CASES: dict[str, dict[str, Any]] = {
    "token ratio, token mean": {"kl": "none", "loss": {"normaliser": "token_mean"}},
    "token ratio, sequence mean": {"kl": "none", "loss": {"normaliser": "sequence_mean"}},
    "token ratio, constant": {"kl": "none", "loss": {"normaliser": "constant"}},
    "clip higher": {"kl": "none", "loss": {"clip_low": 0.05, "clip_high": 0.15}},
    "dual clip": {"kl": "none", "loss": {"dual_clip": 1.2, "clip_high": 0.1}},
    "sequence ratio": {"algorithm": "gspo", "loss": {"clip_low": 0.02, "clip_high": 0.02}},
    "completion ratio": {"algorithm": "rloo", "kl": "none"},
    "cispo": {"algorithm": "cispo", "loss": {"clip_low": 0.1, "clip_high": 0.1}},
    "kl in the loss, k2": {"kl": "loss", "kl_estimator": "k2"},
    "kl in the loss, k3": {"kl": "loss", "kl_estimator": "k3"},
    "correction": {"kl": "none", "loss": {"correction": "truncated", "correction_cap": 1.1}},
    "temperature": {"kl": "none", "sampling": {"temperature": 0.6}},
    "top-p": {"kl": "loss", "sampling": {"temperature": 1.4, "top_p": 0.7}},
    "shared critic": {"algorithm": "ppo", "kl": "none", "critic": {"trunk": "shared", "coefficient": 0.7}},
}


def material(train: Train, rewards: Sequence[float | None] = REWARDS) -> UpdateBatch:
    """Sampled completions, and an experience as if the policy had moved since it sampled them."""
    rollouts = sampled(rewards, K, train.sampling.temperature, train.sampling.top_p)
    wave = 0.3 * rollouts.mask.float().cumsum(1).mul(1.7).sin()
    exact = rollouts.log_probs
    scored = Scored(
        reference_log_probs=exact - 0.5 * wave.abs() if train.kl == "loss" else None,
        trainer_log_probs=exact + 0.5 * wave if train.loss.correction == "truncated" else None,
        values=wave if train.has_critic else None,
    )
    experience = build_experience(rollouts, scored, train, KL, LIMIT)
    return UpdateBatch(rollouts, replace(experience, old_log_probs=experience.old_log_probs + wave), train, LIMIT, KL)


def actor_of(train: Train) -> Actor:
    actor = Actor(tiny_policy(), train, 0)
    if actor.value_head is not None:
        nn.init.normal_(actor.value_head.linear.weight, generator=torch.Generator().manual_seed(0))
    return actor


def gradient_of(module: nn.Module) -> Tensor:
    return torch.cat([p.new_zeros(p.shape).flatten() if p.grad is None else p.grad.flatten() for p in parameters_of(module)])


def ours(given: UpdateBatch, prompts: Sequence[int] = EVERY) -> tuple[Tensor, Means]:
    """Gradient and figures of one minibatch."""
    actor = actor_of(given.train)
    figures = ActorObjective(actor, given).backward(prompts)
    assert figures is not None
    return gradient_of(actor), figures


def assert_equal_gradients(a: Tensor, b: Tensor) -> None:
    """Up to fp32 sums in another order; a token left out, or weighted otherwise, moves far more."""
    assert b.norm() > 0
    assert (a - b).norm() / b.norm() < 1e-4


# The direct computation.


def plain_log_probs(policy: Policy, prompt: Sequence[int], tokens: list[int], nucleus: Any, temperature: float) -> Tensor:
    """Log-probs of a completion's tokens from the model's own forward pass over that one sequence."""
    out = policy.model(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False)
    logits = out.logits[0, len(prompt) - 1 : -1] / temperature
    if nucleus is not None:
        kept = torch.zeros(logits.shape, dtype=torch.bool)
        for position, ids in enumerate(nucleus):
            kept[position, ids] = True
        logits = logits.where(kept, -torch.inf)
    return logits.log_softmax(-1)[range(len(tokens)), tokens]


def plain_values(policy: Policy, head: nn.Module, prompt: Sequence[int], tokens: list[int]) -> Tensor:
    out = policy.model.base_model(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False)
    return head(out.last_hidden_state[0, len(prompt) - 1 : -1])


def direct_token_losses(log_probs: Tensor, number: int, given: UpdateBatch) -> Tensor:
    """The formulas of docs and papers for the own tokens of one completion."""
    loss, experience, n = given.train.loss, given.experience, len(log_probs)
    old, advantage = experience.old_log_probs[number, :n], experience.advantages[number, :n]
    log_ratio = log_probs - old
    if loss.ratio == "sequence":
        log_ratio = log_ratio.mean().expand(n)
    if loss.ratio == "completion":
        log_ratio = log_ratio.sum().expand(n)
    ratio = log_ratio.exp()
    bounded = ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high)
    result = -torch.minimum(ratio * advantage, bounded * advantage)
    if loss.dual_clip is not None:
        result = torch.where(advantage < 0, torch.minimum(result, -loss.dual_clip * advantage), result)
    if loss.surrogate == "cispo":
        result = -bounded.detach() * advantage * log_probs
    if experience.correction is not None:
        result = result * experience.correction[number, :n]
    if given.train.kl == "loss":
        assert experience.reference_log_probs is not None
        d = log_probs - experience.reference_log_probs[number, :n]
        k3 = (-d).exp() - 1 + d
        result = result + KL * (d.square() / 2 if given.train.kl_estimator == "k2" else (log_probs - old).exp() * k3)
    return result


def direct_value_losses(values: Tensor, number: int, experience: Experience, clip: float | None) -> Tensor:
    assert experience.values is not None
    assert experience.returns is not None
    old, target = experience.values[number, : len(values)], experience.returns[number, : len(values)]
    if clip is None:
        return (values - target).square() / 2
    bounded = torch.minimum(torch.maximum(values, old - clip), old + clip)
    return torch.maximum((values - target).square(), (bounded - target).square()) / 2


def reduced(losses: list[Tensor], normaliser: str) -> Tensor:
    """One number from the token losses of each completion that counts."""
    if normaliser == "token_mean":
        return torch.cat(losses).mean()
    if normaliser == "sequence_mean":
        return torch.stack([loss.mean() for loss in losses]).mean()
    return torch.stack([loss.sum() / LIMIT for loss in losses]).mean()


def direct(given: UpdateBatch) -> tuple[Tensor, float]:
    """Gradient and loss of a minibatch of all prompts."""
    train, actor = given.train, actor_of(given.train)
    policy_losses, value_losses = [], []
    for number, completion in enumerate(given.rollouts.completions):
        if not given.experience.mask[number].any():
            continue
        prompt = given.rollouts.groups[number // K].prompt
        place = (actor.policy, prompt, completion.tokens)
        log_probs = plain_log_probs(*place, completion.nucleus, train.sampling.temperature)
        policy_losses.append(direct_token_losses(log_probs, number, given))
        if actor.value_head is not None:
            values = plain_values(actor.policy, actor.value_head, prompt, completion.tokens)
            value_losses.append(direct_value_losses(values, number, given.experience, train.critic.value_clip))
    loss = reduced(policy_losses, train.loss.normaliser)
    if value_losses:
        loss = loss + train.critic.coefficient * reduced(value_losses, "token_mean")
    loss.backward()
    return gradient_of(actor), float(loss)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rewards", [REWARDS, SOME_MISSING], ids=["all", "some missing"])
def test_the_gradient_is_that_of_the_formula(case: str, rewards: list[float | None]) -> None:
    given = material(Train(**CASES[case]), rewards)
    (gradient, figures), (expected, loss) = ours(given), direct(given)
    assert_equal_gradients(gradient, expected)
    assert figures.values()["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("micro_tokens", [1, 20])
def test_micro_batches_change_neither_gradient_nor_figures(case: str, micro_tokens: int) -> None:
    given = material(Train(**CASES[case]))
    cut = replace(given, train=Train(**CASES[case], micro_tokens=micro_tokens))
    (gradient, figures), (expected, whole) = ours(cut), ours(given)
    assert_equal_gradients(gradient, expected)
    assert figures.values() == pytest.approx(whole.values(), rel=1e-4, abs=1e-6)


@settings(deadline=None, max_examples=6)
@given(st.permutations(EVERY), st.sampled_from(["token_mean", "sequence_mean", "constant"]))
def test_the_order_of_the_prompts_changes_nothing(order: list[int], normaliser: str) -> None:
    given = material(Train(kl="loss", loss={"normaliser": normaliser}))
    (gradient, figures), (expected, sorted_) = ours(given, order), ours(given)
    assert_equal_gradients(gradient, expected)
    assert figures.values() == pytest.approx(sorted_.values(), rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_padding_does_not_matter(case: str) -> None:
    given = material(Train(**CASES[case]))
    outside, wider = ~given.rollouts.mask, {}
    for name, matrix in vars(given.experience).items():
        fill = 0 if name in ("mask", "advantages") else 1e9  # an advantage outside of the mask is zero by definition
        if isinstance(matrix, Tensor):
            wider[name] = nn.functional.pad(matrix.masked_fill(outside, fill), (0, 3), value=fill)
    gradient, figures = ours(replace(given, experience=replace(given.experience, **wider)))
    expected, narrow = ours(given)
    assert torch.equal(gradient, expected)
    assert figures.values() == narrow.values()


def test_zero_variance_groups_are_left_out_of_the_forward_pass_where_they_have_no_gradient() -> None:
    assert ActorObjective(actor_of(Train()), material(Train(kl="none"))).needed == [True, False, True]


@pytest.mark.parametrize("case", ["kl in the loss, k2", "shared critic"])
def test_zero_variance_groups_are_kept_where_something_else_pulls_on_them(case: str) -> None:
    given = material(Train(**CASES[case]))
    given.experience.advantages[K : 2 * K] = 0
    assert ActorObjective(actor_of(given.train), given).needed == [True, True, True]
    assert_equal_gradients(ours(given)[0], direct(given)[0])


def test_a_group_whose_advantage_is_not_a_number_is_seen() -> None:
    given = material(Train(kl="none"))
    given.experience.advantages[3, 0] = torch.nan
    assert ActorObjective(actor_of(given.train), given).needed == [True, True, True]
    assert not ours(given)[0].isfinite().all()


def test_where_every_reward_is_equal_there_is_nothing_to_learn() -> None:
    given = material(Train(kl="none"), [0.35] * 9)
    assert ActorObjective(actor_of(given.train), given).backward(EVERY) is None


@pytest.mark.parametrize("case", CASES)
def test_a_minibatch_without_any_reward_is_nothing_to_learn_from(case: str) -> None:
    given = material(Train(**CASES[case]), [None] * 9)
    assert ActorObjective(actor_of(given.train), given).backward(EVERY) is None


def test_a_minibatch_is_normalised_by_its_own_tokens_alone() -> None:
    given = material(Train(kl="none"))
    alone = UpdateBatch(sampled(REWARDS[:3], K), given.experience, given.train, LIMIT, KL)
    width = alone.rollouts.mask.shape[1]
    cut = {n: m[:K, :width] for n, m in vars(given.experience).items() if isinstance(m, Tensor)}
    assert_equal_gradients(ours(given, [0])[0], ours(replace(alone, experience=replace(given.experience, **cut)), [0])[0])


def test_the_weights_of_a_minibatch_are_zero_outside_of_it() -> None:
    weights = material(Train(kl="none")).weights([2], "token_mean")
    assert not weights[: 2 * K].any()
    assert float(weights.sum()) == pytest.approx(1)


def test_masked_completions_are_no_part_of_any_denominator() -> None:
    given = material(Train(kl="none"), SOME_MISSING)
    weights = given.weights(EVERY, "sequence_mean")
    assert weights.sum(1).tolist() == pytest.approx([0.2, 0, 0.2, 0, 0, 0, 0.2, 0.2, 0.2])  # five completions count


# Figures.


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 1), st.floats(0.01, 3), st.sampled_from([REWARDS, SOME_MISSING]), st.sampled_from([1, 16_384]))
def test_clip_ratios_are_shares(low: float, high: float, rewards: list[float | None], micro_tokens: int) -> None:
    train = Train(kl="none", loss={"clip_low": low, "clip_high": high}, micro_tokens=micro_tokens)
    ratios = [ours(material(train, rewards))[1].values()[name] for name in CLIP_RATIOS]
    assert all(0 <= ratio <= 1 for ratio in ratios)
    assert ratios[0] + ratios[1] == pytest.approx(ratios[2])  # no token is clipped on both sides


def test_the_denominator_of_a_clip_ratio_is_every_token_of_the_minibatch() -> None:
    given = material(Train(kl="none", loss={"clip_low": 0.1, "clip_high": 0.1}))
    experience = given.experience
    ratio = (given.rollouts.log_probs - experience.old_log_probs).exp()
    low = (ratio < 0.9) & (experience.advantages < 0) & experience.mask
    high = (ratio > 1.1) & (experience.advantages > 0) & experience.mask
    # Tokens of zero-variance groups count as well.
    expected = [float(hit.sum()) / float(experience.mask.sum()) for hit in (low, high, low | high)]
    figures = ours(given)[1].values()
    assert all(expected)
    assert [figures[name] for name in CLIP_RATIOS] == pytest.approx(expected)


def test_the_policy_that_sampled_has_moved_by_nothing() -> None:
    given = material(Train(kl="none"))
    fresh = replace(given, experience=replace(given.experience, old_log_probs=given.rollouts.log_probs))
    figures = ours(fresh)[1].values()
    assert figures["approx_kl"] == pytest.approx(0, abs=1e-5)
    assert figures["clip_ratio/region_mean"] == 0


@pytest.mark.parametrize("rewards", [REWARDS, SOME_MISSING], ids=["all", "some missing"])
def test_the_approximate_kl_is_the_mean_of_old_minus_new(rewards: list[float | None]) -> None:
    given = material(Train(kl="loss"), rewards)
    moved = (given.experience.old_log_probs - given.rollouts.log_probs)[given.experience.mask]
    assert ours(given)[1].values()["approx_kl"] == pytest.approx(float(moved.mean()), abs=1e-5)


def test_the_figures_of_a_shared_critic_name_its_loss() -> None:
    train = Train(**CASES["shared critic"])
    given, actor = material(train), actor_of(train)
    losses = []
    for number, completion in enumerate(given.rollouts.completions):
        prompt = given.rollouts.groups[number // K].prompt
        values = plain_values(actor.policy, actor.value_head, prompt, completion.tokens)
        losses.append(direct_value_losses(values, number, given.experience, train.critic.value_clip))
    assert ours(given)[1].values()["value_loss"] == pytest.approx(float(reduced(losses, "token_mean").detach()), rel=1e-4)


# The critic alone.


def critic_of() -> Critic:
    critic = Critic(tiny_policy().model)
    nn.init.normal_(critic.head.linear.weight, generator=torch.Generator().manual_seed(0))
    return critic


@pytest.mark.parametrize("value_clip", [0.2, None])
@pytest.mark.parametrize("micro_tokens", [1, 20, 16_384])
@pytest.mark.parametrize("rewards", [REWARDS, SOME_MISSING], ids=["all", "some missing"])
def test_the_critics_gradient_is_that_of_the_formula(
    rewards: list[float | None], micro_tokens: int, value_clip: float | None
) -> None:
    given = material(Train(algorithm="ppo", kl="none", critic={"value_clip": value_clip}, micro_tokens=micro_tokens), rewards)
    critic, direct_critic = critic_of(), critic_of()
    figures = ValueObjective(critic, lambda batch: critic(batch.rows), tiny_policy(), given).backward(EVERY)
    assert figures is not None
    losses = []
    for number, completion in enumerate(given.rollouts.completions):
        if given.experience.mask[number].any():
            prompt = given.rollouts.groups[number // K].prompt
            out = direct_critic.trunk(input_ids=torch.tensor([[*prompt, *completion.tokens]]), use_cache=False)
            values = direct_critic.head(out.last_hidden_state[0, len(prompt) - 1 : -1])
            losses.append(direct_value_losses(values, number, given.experience, value_clip))
    loss = reduced(losses, "token_mean")
    loss.backward()
    assert_equal_gradients(gradient_of(critic), gradient_of(direct_critic))
    assert figures.values()["value_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_without_any_reward_the_critic_has_nothing_to_learn_either() -> None:
    given, critic = material(Train(algorithm="ppo", kl="none"), [None] * 9), critic_of()
    assert ValueObjective(critic, lambda batch: critic(batch.rows), tiny_policy(), given).backward(EVERY) is None


def test_the_critic_learns_the_returns() -> None:
    train = Train(algorithm="ppo", kl="none", critic={"value_clip": None})
    given, critic = material(train), Critic(tiny_policy().model)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    objective = ValueObjective(critic, lambda batch: critic(batch.rows), tiny_policy(), given)
    losses = [run_update(objective, optimizer, [EVERY], 1, 1.0).figures.values()["value_loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_warm_up_of_a_shared_critic_moves_its_head_alone() -> None:
    train = Train(**CASES["shared critic"])
    given, actor = material(train), actor_of(train)
    assert actor.value_head is not None
    policy, head = weights(actor.model), weights(actor.value_head)
    optimizer = torch.optim.AdamW(actor.parameters(), lr=1e-2, weight_decay=0.0)
    objective = ValueObjective(actor, lambda batch: actor.values(batch.rows), actor.policy, given)
    assert run_update(objective, optimizer, [EVERY] * 3, 1, 1.0, prefix="critic/").steps == 3
    assert same(weights(actor.model), policy)
    assert not same(weights(actor.value_head), head)


@pytest.mark.parametrize("micro_tokens", [1, 16_384])
def test_the_mismatch_is_that_of_the_first_minibatch(micro_tokens: int) -> None:
    given = material(Train(kl="none", micro_tokens=micro_tokens))
    objective = ActorObjective(actor_of(given.train), given)
    objective.sampled = objective.sampled + 0.1  # an engine that says exp(0.1) of the trainer's probability
    minibatches = [*EVERY], [*EVERY]
    first, second = (found.values() if (found := objective.backward(prompts)) else {} for prompts in minibatches)
    again = objective.backward(minibatches[0])  # as after running out of memory
    assert again is not None
    assert set(MISMATCH) <= again.values().keys()
    assert [first[name] for name in MISMATCH] == pytest.approx([0.1, math.exp(-0.1) - 1 + 0.1], abs=1e-5)
    assert not set(MISMATCH) & second.keys()


# Another sampler's log-probs, corrected for without a scoring pass.


def test_the_only_updates_own_log_probs_correct_as_a_scoring_pass_does() -> None:
    train = Train(kl="none", loss={"correction": "truncated", "correction_cap": 1.1})
    rollouts = sampled(REWARDS, K)
    exact, wave = rollouts.log_probs, 0.2 * rollouts.mask.float().cumsum(1).sin()
    rollouts.__dict__["log_probs"] = exact + wave  # what another sampler said
    given = [Scored(trainer_log_probs=exact), Scored(by_the_update=True)]
    before, during = (UpdateBatch(rollouts, build_experience(rollouts, s, train, KL, LIMIT), train, LIMIT, KL) for s in given)
    (expected, _), (gradient, figures) = ours(before), ours(during)
    assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    assert before.experience.correction is not None
    taught = before.experience.advantages.abs().sum(1) > 0  # a zero-variance group is in no forward pass
    weights = before.experience.correction[taught][rollouts.mask[taught]]
    assert figures.values()[CORRECTION] == pytest.approx(float(weights.mean()), abs=1e-4)
    assert figures.values()["approx_kl"] == 0
