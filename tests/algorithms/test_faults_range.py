"""Large rewards, and small differences of large rewards, give the advantages that the same groups near zero have."""

import pytest
import torch

from ratchet.components.algorithms.advantages import (
    GROUP_ESTIMATORS,
    discounted_returns,
    generalised_advantages,
    group_mean_advantages,
    group_std_advantages,
    leave_one_out_advantages,
    whiten,
)

GROUP = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])
NORMALISED = ("group_std", "group_mean_batch_std")


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", NORMALISED)
def test_normalised_advantages_do_not_depend_on_the_size_of_rewards(estimator: str, kind: torch.dtype) -> None:
    function = GROUP_ESTIMATORS[estimator]
    advantages = function((GROUP * 1e20).to(kind))
    assert advantages.dtype == kind
    torch.testing.assert_close(advantages.float(), function(GROUP), rtol=1e-4, atol=1e-4)


def test_rewards_of_1e20_by_hand() -> None:
    # mean 0, deviation sqrt(2 / 1) = 1.414214 of them
    assert group_std_advantages(torch.tensor([[1e20, -1e20]])).tolist() == [[pytest.approx(0.707107), pytest.approx(-0.707107)]]


@pytest.mark.parametrize("function", [group_mean_advantages, leave_one_out_advantages])
def test_a_mean_of_large_rewards_does_not_overflow(function: object) -> None:
    rewards = torch.tensor([[2e38, 2e38, -2e38, -2e38]])  # their sum in float32, in any order, passes infinity
    assert function(rewards).isfinite().all()  # type: ignore[operator]


def test_a_small_difference_of_large_rewards_is_a_signal() -> None:
    rewards = GROUP.double() + 2**40
    assert torch.equal(group_mean_advantages(rewards), group_mean_advantages(GROUP.double()))


def test_whitening_does_not_depend_on_the_size_of_values() -> None:
    mask = torch.ones_like(GROUP, dtype=torch.bool)
    torch.testing.assert_close(whiten(GROUP * 1e20, mask), whiten(GROUP, mask))


def test_a_small_reward_between_large_ones_is_kept() -> None:
    rewards, mask = torch.tensor([[-(2.0**26), 1.0, 2.0**26]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(discounted_returns(rewards, mask, 1.0)[0, 0]) == 1.0
    assert float(generalised_advantages(rewards, torch.zeros(1, 3), mask, 1.0, 1.0).advantages[0, 0]) == 1.0
