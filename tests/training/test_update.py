"""The update: how many steps, in what order, and what happens to figures that are not finite."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.experience import Scored, build_experience
from ratchet.components.training.meters import Means
from ratchet.components.training.objectives import ActorObjective, UpdateBatch
from ratchet.components.training.update import Report, optimiser_step, parameters_of, run_update, split
from tests.tiny_models import moments, same, tiny_policy, weights
from tests.training.rollouts import sampled

REWARDS = [1.0, 0.0, 0.25, 0.5, 0.0, 0.5, 0.0, 1.0, 1.0]
EVERY = [0, 1, 2]


class Line:
    """An objective with one weight of 0, whose gradient in a minibatch is the sum of its prompts' numbers."""

    def __init__(self, nothing: Sequence[int] = (), infinite: Sequence[int] = ()) -> None:
        self.module: nn.Module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.module.weight)
        self.seen: list[list[int]] = []
        self._nothing, self._infinite = nothing, infinite

    def backward(self, prompts: Sequence[int]) -> Means | None:
        self.seen.append(list(prompts))
        if set(prompts) <= set(self._nothing):
            return None
        scale = torch.inf if set(prompts) & set(self._infinite) else float(sum(prompts))
        self.module(torch.tensor([[scale]])).sum().backward()
        figures = Means()
        figures.add("loss", float(sum(prompts)), 1.0)
        return figures


def updated(line: Line, orders: list[list[int]], minibatches: int, max_grad_norm: float = 1e9, prefix: str = "") -> Report:
    return run_update(line, torch.optim.SGD(line.module.parameters(), 1.0), orders, minibatches, max_grad_norm, prefix)


def test_every_minibatch_of_every_pass_is_a_step() -> None:
    line = Line()
    report = updated(line, [[2, 0, 1, 3], [3, 2, 1, 0]], 2)
    assert line.seen == [[2, 0], [1, 3], [3, 2], [1, 0]]
    assert (report.steps, report.skipped) == (4, 0)
    assert line.module.weight.item() == -12  # each step takes its gradient off: 2 + 4 + 5 + 1


def test_a_figure_is_the_mean_over_the_steps() -> None:
    figures = updated(Line(), [[2, 0, 1, 3]], 2).figures.values()
    assert figures == {"loss": 3.0, "grad_norm": 3.0}  # (2 + 4) / 2


def test_the_norm_has_its_own_name_in_a_critics_update() -> None:
    assert "critic/grad_norm" in updated(Line(), [[1]], 1, prefix="critic/").figures.values()


def test_a_minibatch_with_nothing_to_learn_is_neither_a_step_nor_skipped() -> None:
    line = Line(nothing=[2, 0])
    report = updated(line, [[2, 0, 1, 3]], 2)
    assert (report.steps, report.skipped) == (1, 0)
    assert line.module.weight.item() == -4


def test_an_infinite_minibatch_is_skipped_and_the_next_one_is_taken() -> None:
    line = Line(infinite=[0])
    report = updated(line, [[2, 0, 1, 3]], 2)
    assert (report.steps, report.skipped) == (1, 1)
    assert line.module.weight.item() == -4
    assert report.figures.values() == {"loss": 4.0, "grad_norm": 4.0}  # what was skipped is in no figure


def test_prompts_are_split_into_equal_runs() -> None:
    assert split([5, 1, 4, 0, 3, 2], 3) == [[5, 1], [4, 0], [3, 2]]


def test_a_gradient_is_clipped_to_its_largest_norm() -> None:
    module = nn.Linear(2, 1, bias=False)
    before = module.weight.detach().clone()
    module(torch.tensor([[30.0, 40.0]])).sum().backward()  # a gradient of (30, 40), norm 50
    norm = optimiser_step(module, torch.optim.SGD(module.parameters(), lr=1.0), 1.0, Means())
    assert norm == pytest.approx(50)
    assert_close(before - module.weight.detach(), torch.tensor([[0.6, 0.8]]))


def test_a_skipped_step_leaves_no_gradient_behind() -> None:
    module = nn.Linear(2, 1)
    (module(torch.ones(1, 2)) * torch.inf).sum().backward()
    assert optimiser_step(module, torch.optim.SGD(module.parameters(), lr=1.0), 1.0, Means()) is None
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


def test_only_trainable_parameters_are_given_each_once() -> None:
    model = tiny_policy().model  # its head is tied to its embedding
    frozen = next(p for name, p in model.named_parameters() if name.endswith("norm.weight"))
    frozen.requires_grad_(False)
    given = parameters_of(model)
    assert len(given) == len(list(model.parameters())) - 1
    assert len({id(p) for p in given}) == len(given)


# The real objective.


def material(train: Train | None = None) -> UpdateBatch:
    train, rollouts = train or Train(kl="none"), sampled(REWARDS, 3)
    return UpdateBatch(rollouts, build_experience(rollouts, Scored(), train, 0.0, 8), train, 8, 0.0)


def stepped_once() -> tuple[Actor, torch.optim.Optimizer]:
    """A policy, and an optimiser that has moments to lose."""
    actor = Actor(tiny_policy(), Train(kl="none"), 0)
    optimizer = torch.optim.AdamW(actor.parameters(), lr=1e-3)
    run_update(ActorObjective(actor, material()), optimizer, [EVERY], 1, 1.0)
    return actor, optimizer


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted() -> None:
    actor, optimizer = stepped_once()
    before, moments_before = weights(actor), moments(optimizer)
    next(actor.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    report = run_update(ActorObjective(actor, material()), optimizer, [EVERY], 1, 1.0)
    assert (report.steps, report.skipped) == (0, 1)
    assert same(weights(actor), before)
    assert same(moments(optimizer), moments_before)


@pytest.mark.parametrize("what", ["old_log_probs", "advantages"])
def test_a_figure_that_is_not_a_number_is_never_trained_on_in_silence(what: str) -> None:
    (actor, optimizer), given = stepped_once(), material()
    before, damaged = weights(actor), getattr(given.experience, what).clone()
    damaged[0, 0] = torch.nan
    objective = ActorObjective(actor, replace(given, experience=replace(given.experience, **{what: damaged})))
    report = run_update(objective, optimizer, [EVERY], 1, 1.0)
    assert (report.steps, report.skipped) == (0, 1)
    assert same(weights(actor), before)


def test_micro_batches_do_not_change_an_update() -> None:
    updates = []
    for micro_tokens in (1, 16_384):
        actor = Actor(tiny_policy(), Train(kl="none"), 0)
        given = material(Train(kl="none", micro_tokens=micro_tokens))
        optimizer = torch.optim.SGD(actor.parameters(), 1e-3)
        report = run_update(ActorObjective(actor, given), optimizer, [EVERY, [2, 0, 1]], 3, 1.0)
        updates.append((report.figures.values(), weights(actor)))
    assert updates[0][0] == pytest.approx(updates[1][0], rel=1e-3, abs=1e-5)
    assert_close(updates[0][1], updates[1][1], rtol=0, atol=1e-5)
