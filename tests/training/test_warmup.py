"""Supervised warm-up on a handful of rows."""

import pytest
import torch

from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Warmup
from ratchet.components.training.warmup import build_policy, learning_rate_factor, warm_up
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


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1 / 50),
        (24, 25 / 50 * (1 - 24 / 1000)),
        (49, 1 - 49 / 1000),
        (500, 0.5),
        (999, 0.05),  # never below a twentieth
    ],
)
def test_the_learning_rate_ramps_up_and_decays(step: int, expected: float) -> None:
    assert learning_rate_factor(step, 1000) == pytest.approx(expected)
