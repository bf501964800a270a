"""The clipped losses against hand-computed numbers."""

import math

import pytest
import torch
from torch.testing import assert_close

from components.algorithms.losses import clipped_policy_loss, clipped_value_loss, masked_mean

LOG = {ratio: math.log(ratio) for ratio in (0.5, 0.9, 1.1, 1.5)}


def policy_loss(ratio: float, advantage: float) -> tuple[float, bool, float]:
    """Loss, clip flag and gradient with respect to the log-prob of one token, with clip 0.2."""
    log_prob = torch.tensor([LOG[ratio]], requires_grad=True)
    result = clipped_policy_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), 0.2)
    result.loss.sum().backward()
    return float(result.loss), bool(result.clipped), float(log_prob.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.5, 2.0, -2.4, True),  # -min(3.0, 1.2 x 2): far enough up already
        (0.5, -2.0, 1.6, True),  # -min(-1.0, 0.8 x -2): far enough down already
        (0.5, 2.0, -1.0, False),  # -min(1.0, 1.6): a good token that became rarer is pulled back
        (1.5, -2.0, 3.0, False),  # -min(-3.0, -2.4): a bad token that became likelier is pushed back
        (1.1, 2.0, -2.2, False),
        (0.9, -2.0, 1.8, False),
    ],
)
def test_only_moves_in_the_advantage_direction_are_clipped(ratio: float, advantage: float, loss: float, clipped: bool) -> None:
    value, flag, gradient = policy_loss(ratio, advantage)
    assert value == pytest.approx(loss)
    assert flag is clipped
    assert gradient == pytest.approx(0.0 if clipped else -ratio * advantage)


def test_at_ratio_one_the_gradient_is_that_of_reinforce() -> None:
    log_probs = torch.tensor([-0.3, -1.2, -4.0], requires_grad=True)
    advantages = torch.tensor([1.0, -0.5, 2.0])
    clipped_policy_loss(log_probs, log_probs.detach().clone(), advantages, 0.2).loss.sum().backward()
    assert_close(log_probs.grad, -advantages)  # d/dx of -A log p


def test_at_ratio_one_nothing_is_clipped() -> None:
    same = torch.tensor([-0.3, -1.2])
    assert not clipped_policy_loss(same, same, torch.tensor([1.0, -1.0]), 0.2).clipped.any()


@pytest.mark.parametrize("difference", [-1000.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_absurd_ratios_stay_finite(difference: float, advantage: float) -> None:
    loss = clipped_policy_loss(torch.tensor([difference]), torch.zeros(1), torch.tensor([advantage]), 0.2).loss
    assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (1.0, 2.0, 1.62),  # bounded to 0.2: 0.5 max(1^2, 1.8^2)
        (1.0, 0.0, 0.5),  # 0.5 max(1^2, 0.2^2)
        (0.1, 1.0, 0.405),  # inside the clip: 0.5 x 0.9^2
    ],
)
def test_the_value_loss_takes_the_worse_of_two(value: float, target: float, expected: float) -> None:
    loss = clipped_value_loss(torch.tensor([value]), torch.zeros(1), torch.tensor([target]), 0.2)
    assert float(loss) == pytest.approx(expected)


def test_a_value_that_moved_beyond_the_clip_has_no_gradient_further() -> None:
    value = torch.tensor([1.0], requires_grad=True)
    clipped_value_loss(value, torch.zeros(1), torch.tensor([2.0]), 0.2).sum().backward()
    assert float(value.grad) == 0


def test_the_masked_mean_sees_only_its_mask() -> None:
    values = torch.tensor([[1.0, math.nan], [3.0, math.inf]])
    assert float(masked_mean(values, torch.tensor([[True, False], [True, False]]))) == 2


def test_the_masked_mean_of_nothing_is_zero() -> None:
    assert float(masked_mean(torch.tensor([math.nan]), torch.tensor([False]))) == 0
