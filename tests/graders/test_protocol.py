"""A reward gives one finite number a completion, or None; everything else is its fault and says so."""

import math

import pytest

from ratchet.components.errors import RewardError
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import LARGEST, Grade, checked, score_rows
from ratchet.components.recipe import Numbers


def test_good_scores_pass_unchanged() -> None:
    scores = [Grade(1.0, {"verifier": 1.0}), Grade(-2, {}), Grade(0.0, {})]
    assert checked(scores, 3, "the reward") == scores


def test_a_completion_that_could_not_be_judged_is_no_fault_and_no_zero() -> None:
    assert checked([Grade(None, {})], 1, "the reward")[0].score is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_scores_is_refused(count: int) -> None:
    with pytest.raises(RewardError, match=f"my reward returned {count} rewards for 2 completions"):
        checked([Grade(1.0, {})] * count, 2, "my reward")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1.0", True, [1.0], 1j])
def test_a_total_that_is_no_finite_number_is_refused_with_its_place(value: object) -> None:
    scores = [Grade(1.0, {}), Grade(value, {})]  # type: ignore[arg-type]
    with pytest.raises(RewardError, match=r"my reward returned score=.* for completion 1"):
        checked(scores, 2, "my reward")


def test_a_part_that_is_not_finite_is_refused_by_its_name() -> None:
    with pytest.raises(RewardError, match="length=nan for completion 0"):
        checked([Grade(1.0, {"length": math.nan})], 1, "my reward")


def test_rows_are_scored_in_order_and_what_cannot_be_judged_is_none() -> None:
    rows = [{"prompt": "p", "answer": "1000.00"}, {"prompt": "p", "answer": "3"}, {"prompt": "p"}]
    scores = score_rows(build_grader(Numbers()), rows, ["#### 1,000", "\u2028#### 2", "#### 2"])
    assert [(grade.score, grade.passed, grade.answer) for grade in scores] == [
        (1.0, True, "1000"),
        (0.0, False, "2"),
        (None, None, None),
    ]


def test_a_score_too_few_for_the_rows_is_refused() -> None:
    with pytest.raises(RewardError, match="the reward returned 1 rewards for 2 completions"):
        score_rows(lambda *_: [Grade(1.0, {})], [{"prompt": "p"}] * 2, ["a", "b"])


@pytest.mark.parametrize("value", [1e20, -1e20, 1.01e12, 10**30])
def test_a_reward_out_of_range_is_refused_with_the_range(value: float) -> None:
    with pytest.raises(RewardError, match=r"my reward returned score=.* for completion 1.*from -1e\+12 to 1e\+12"):
        checked([Grade(LARGEST, {}), Grade(value, {})], 2, "my reward")


@pytest.mark.parametrize("digits", [400, 5000])  # beyond every float; beyond what Python turns into text
def test_an_integer_of_many_digits_is_refused(digits: int) -> None:
    with pytest.raises(RewardError, match=r"my reward returned score=an integer .* for completion 0"):
        checked([Grade(10**digits, {})], 1, "my reward")


def test_a_part_is_only_shown_and_may_be_of_any_size() -> None:
    assert checked([Grade(1.0, {"clock": 1.7e18})], 1, "my reward")
