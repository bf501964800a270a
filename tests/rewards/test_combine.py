"""Sums and ensembles of rewards, by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.rewards.combine import Ensemble, Sum, WeightedTerm, squash


def giving(*totals: float | None) -> RewardFunction:
    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [Grade(total, {}) for total in totals]

    return reward


def scores(function: RewardFunction, count: int = 1) -> list[Grade]:
    return function([""] * count, [""] * count, [{}] * count)


def test_a_sum_adds_its_terms_by_weight_and_keeps_them_apart() -> None:
    # 2 * 1 - 0.5 * 4 + 1 * sigmoid(0) = 0.5
    terms = [
        WeightedTerm("right", 2.0, giving(1.0), "r"),
        WeightedTerm("long", -0.5, giving(4.0), "l"),
        WeightedTerm("model", 1.0, giving(0.0), "m", squash),
    ]
    assert scores(Sum(terms)) == [Grade(0.5, {"right": 1.0, "long": 4.0, "model": 0.0})]


def test_a_missing_term_leaves_the_sum_missing_and_the_other_parts_known() -> None:
    terms = [WeightedTerm("a", 1.0, giving(None, 0.0), "a"), WeightedTerm("b", 1.0, giving(1.0, 1.0), "b")]
    assert scores(Sum(terms), 2) == [Grade(None, {"b": 1.0}), Grade(1.0, {"a": 0.0, "b": 1.0})]


def test_a_term_that_failed_passes_its_fault_on() -> None:
    failed = Grade(None, fault="timeout", reason="slow")
    terms = [WeightedTerm("a", 1.0, giving(None), "a"), WeightedTerm("b", 1.0, lambda *_: [failed], "b")]
    assert scores(Sum(terms)) == [failed]


@pytest.mark.parametrize(("combine", "total"), [("mean", 2.0), ("min", 1.0), ("mean_minus_sd", 1.0)])
def test_an_ensemble_is_the_mean_the_minimum_or_less_where_its_members_disagree(combine: Any, total: float) -> None:
    # 1, 2 and 3 have mean 2 and standard deviation 1; with lambda 1 that is 2 - 1 = 1.
    (score,) = scores(Ensemble([giving(1.0), giving(2.0), giving(3.0)], combine))
    assert score == Grade(pytest.approx(total), {"model": pytest.approx(total), "model_sd": 1.0})


def test_lambda_weighs_the_disagreement() -> None:
    assert scores(Ensemble([giving(1.0), giving(2.0), giving(3.0)], "mean_minus_sd", 0.5))[0].score == 1.5


def test_an_ensemble_does_not_judge_what_a_member_could_not() -> None:
    assert scores(Ensemble([giving(1.0), giving(None)])) == [Grade(None, {})]
