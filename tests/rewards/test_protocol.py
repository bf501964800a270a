"""A reward gives one finite number a completion, or None; everything else is its fault and says so."""

import math

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.rewards.protocol import Score, checked


def test_good_scores_pass_unchanged() -> None:
    scores = [Score(1.0, {"verifier": 1.0}), Score(-2, {}), Score(0.0, {})]
    assert checked(scores, 3, "the reward") == scores


def test_a_completion_that_could_not_be_judged_is_no_fault_and_no_zero() -> None:
    assert checked([Score(None, {})], 1, "the reward")[0].total is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_scores_is_refused(count: int) -> None:
    with pytest.raises(RewardError, match=f"my reward returned {count} rewards for 2 completions"):
        checked([Score(1.0, {})] * count, 2, "my reward")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1.0", True, [1.0], 1j])
def test_a_total_that_is_no_finite_number_is_refused_with_its_place(value: object) -> None:
    scores = [Score(1.0, {}), Score(value, {})]  # type: ignore[arg-type]
    with pytest.raises(RewardError, match=r"my reward returned total=.* for completion 1"):
        checked(scores, 2, "my reward")


def test_a_part_that_is_not_finite_is_refused_by_its_name() -> None:
    with pytest.raises(RewardError, match="length=nan for completion 0"):
        checked([Score(1.0, {"length": math.nan})], 1, "my reward")
