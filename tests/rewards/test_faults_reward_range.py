"""A reward too large to be learned from is the reward's fault, and the range is told."""

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.rewards.protocol import LARGEST, Score, checked


@pytest.mark.parametrize("value", [1e20, -1e20, 1.01e12, 10**30])
def test_a_reward_out_of_range_is_refused_with_the_range(value: float) -> None:
    with pytest.raises(RewardError, match=r"my reward returned total=.* for completion 1.*from -1e\+12 to 1e\+12"):
        checked([Score(LARGEST, {}), Score(value, {})], 2, "my reward")


@pytest.mark.parametrize("digits", [400, 5000])  # beyond every float; beyond what Python turns into text
def test_an_integer_of_many_digits_is_refused(digits: int) -> None:
    with pytest.raises(RewardError, match=r"my reward returned total=an integer .* for completion 0"):
        checked([Score(10**digits, {})], 1, "my reward")


def test_a_part_is_only_shown_and_may_be_of_any_size() -> None:
    assert checked([Score(1.0, {"clock": 1.7e18})], 1, "my reward")
