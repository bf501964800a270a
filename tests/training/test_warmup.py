"""Supervised warm-up on a handful of rows."""

from pathlib import Path

import pytest
import torch

from ratchet.components.checkpoints.checkpoint import Pace, Resumption
from ratchet.components.errors import PausedError
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.recipe import Warmup
from ratchet.components.training.warmup import WarmupStep, build_policy, probability, warm_up
from tests.tiny_models import same, weights

ROWS = [{"prompt": f"{i} + 1 = ?", "demonstration": f"#### {i + 1}"} for i in range(30)]
SETTINGS = Warmup(layers=1, width=32, heads=2, vocabulary=300, context=64, steps=40, batch=8, lr=1e-2)


def warmed(seed: int) -> tuple[Policy, list[float]]:
    policy = build_policy(ROWS, SETTINGS, seed)
    return policy, [step.loss for step in warm_up(policy, ROWS, SETTINGS, seed)]


def test_the_loss_falls() -> None:
    losses = warmed(0)[1]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_the_seed_fixes_the_weights() -> None:
    assert same(weights(warmed(1)[0].model), weights(warmed(1)[0].model))
    assert not same(weights(warmed(1)[0].model), weights(warmed(2)[0].model))


def test_the_seed_also_decides_the_order_of_the_rows() -> None:
    policies = [build_policy(ROWS, SETTINGS, 0) for _ in range(2)]
    for seed, policy in enumerate(policies):
        list(warm_up(policy, ROWS, SETTINGS, seed))
    assert not same(weights(policies[0].model), weights(policies[1].model))


def test_global_random_state_does_not_matter() -> None:
    expected = weights(warmed(1)[0].model)
    torch.manual_seed(999)
    assert same(weights(warmed(1)[0].model), expected)


def test_every_step_is_reported_and_the_policy_is_left_ready_to_sample() -> None:
    policy = build_policy(ROWS, SETTINGS, 0)
    assert [step.step for step in warm_up(policy, ROWS, SETTINGS, 0)] == list(range(40))
    assert not policy.model.training


def until(share: float, resumption: Resumption | None = None) -> tuple[Policy, list[WarmupStep]]:
    """A warm-up that ends by what was learnt."""
    policy = build_policy(ROWS, SETTINGS, 1)
    return policy, list(warm_up(policy, ROWS, SETTINGS.model_copy(update={"until": share}), 1, resumption))


def test_it_ends_at_the_first_measurement_that_reaches_the_share() -> None:
    steps = until(1e-5)[1]
    assert len(steps) < 40 and steps[-1].learnt is not None and steps[-1].learnt >= 1e-5
    measured = {step.step + 1: step.learnt for step in steps if step.learnt is not None}
    assert list(measured) == list(range(5, len(steps) + 1, 5))
    assert all(share < 1e-5 for number, share in measured.items() if number < len(steps))
    assert [step.loss for step in steps] == warmed(1)[1][: len(steps)]


def test_a_share_that_is_never_reached_takes_all_steps_and_changes_no_bit() -> None:
    policy, steps = until(0.999)
    assert len(steps) == 40 and not steps[-1].reaches(0.999)
    assert same(weights(policy.model), weights(warmed(1)[0].model))


def test_the_last_step_is_measured_whatever_its_number() -> None:
    policy = build_policy(ROWS, SETTINGS, 1)
    settings = SETTINGS.model_copy(update={"until": 0.999, "steps": 7})
    assert [step.step + 1 for step in warm_up(policy, ROWS, settings, 1) if step.learnt is not None] == [5, 7]


def test_nothing_is_measured_unless_it_is_asked_for() -> None:
    policy = build_policy(ROWS, SETTINGS, 0)
    assert {step.learnt for step in warm_up(policy, ROWS, SETTINGS, 0)} == {None}


def test_the_probability_of_a_demonstration_is_the_product_of_its_tokens() -> None:
    policy = warmed(1)[0]
    expected = []
    for row in ROWS[:3]:
        prompt, answer = policy.encode_row(row), policy.encode_completion(row["demonstration"])
        chances = policy.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].detach().softmax(-1)
        expected.append(chances[range(len(answer)), answer].prod().item())
    groups = [Group(policy.encode_row(row), [policy.encode_completion(row["demonstration"])]) for row in ROWS[:3]]
    assert probability(policy, groups) == pytest.approx(sum(expected) / 3, rel=1e-4)


@pytest.mark.parametrize("ended_after", [3, 5, "the last"])
def test_one_that_was_interrupted_ends_at_the_same_step_with_the_same_bits(tmp_path: Path, ended_after: int | str) -> None:
    whole, steps = until(1e-5)
    number = len(steps) if ended_after == "the last" else int(ended_after)
    calls = iter([False] * (number - 1) + [True])
    with pytest.raises(PausedError):
        until(1e-5, Resumption(tmp_path, "x", lambda: next(calls), Pace(0.0)))
    computed: list[int] = []
    resumed, again = until(1e-5, Resumption(tmp_path, "x", lambda: bool(computed.append(1)), Pace(0.0)))
    assert (again, len(computed)) == (steps, len(steps) - number)
    assert same(weights(resumed.model), weights(whole.model)) and not resumed.model.training
