"""Each check fires on its own fault, and a healthy reward passes them all."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from components.errors import RewardError
from components.recipe import RewardValidation
from components.rewards.protocol import RewardFunction, Score
from components.rewards.validation import (
    Check,
    RewardReport,
    Samples,
    agreement,
    finiteness,
    length_correlation,
    pair_accuracy,
    validate_reward,
    value_range,
)
from components.rewards.verifier import is_correct, verify

ROW = {"prompt": "2 + 3?", "answer": "#### 5"}
PAIRS = [{**ROW, "chosen": "2 + 3 = 5\n#### 5", "rejected": "2 + 3 = 6\n#### 6"}] * 40
# Forty samples of growing length, right and wrong in turn.
SAMPLES = Samples([ROW] * 40, [f"{'so ' * (n // 2)}#### {5 + n % 2}" for n in range(40)])


def scoring(total: Callable[[str, bool], Any]) -> RewardFunction:
    """A reward that is a function of a completion and whether it is right."""

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        return [Score(total(c, is_correct(c, row["answer"])), {}) for c, row in zip(completions, rows, strict=True)]

    return reward


def report(reward: RewardFunction = verify, judge: RewardFunction = verify, **parts: Any) -> RewardReport:
    given = {"pairs": PAIRS, "samples": SAMPLES, "thresholds": RewardValidation(), **parts}
    return validate_reward("verifier", reward, judge, **given)


def failed(report: RewardReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


# Reports


def test_a_healthy_reward_passes_every_check() -> None:
    healthy = report()
    assert healthy.passed
    assert len(healthy.checks) == 5


def test_a_report_comes_back_from_json_as_it_was() -> None:
    for original in (report(), report(pairs=[])):
        assert RewardReport.from_json(json.loads(json.dumps(original.as_json(), allow_nan=False))) == original


def test_a_report_without_checks_has_shown_nothing() -> None:
    assert not RewardReport("verifier", []).passed


def test_one_failed_check_fails_the_report() -> None:
    good, bad = (Check("range", 1.0, None, None, 0.0, passed, "") for passed in (True, False))
    assert RewardReport("verifier", [good]).passed
    assert not RewardReport("verifier", [good, bad, good]).passed


# Each fault and its check


def test_a_judge_that_prefers_the_wrong_answers_fails_on_pairs_alone() -> None:
    assert failed(report(judge=scoring(lambda _, right: 1.0 - right))) == {"pair_accuracy"}


def test_a_judge_that_cannot_tell_the_pairs_apart_fails_on_pairs() -> None:
    assert failed(report(pairs=[{**pair, "rejected": pair["chosen"]} for pair in PAIRS])) == {"pair_accuracy"}


def test_no_held_out_pairs_fail_with_the_key_to_raise() -> None:
    (check,) = (check for check in report(pairs=[]).checks if not check.passed)
    assert check.name == "pair_accuracy"
    assert "data.split.pairs" in check.advice


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1.0"])
def test_one_value_that_is_no_finite_number_fails_finiteness_alone(value: object) -> None:
    odd = SAMPLES.completions[17]
    assert failed(report(reward=scoring(lambda text, right: value if text == odd else float(right)))) == {"finiteness"}


def test_a_value_that_is_not_finite_on_the_pairs_fails_finiteness() -> None:
    assert "finiteness" in failed(report(judge=scoring(lambda text, right: math.nan if "2 + 3 = 6" in text else 1.0)))


def test_a_constant_reward_fails_on_its_range() -> None:
    assert "range" in failed(report(reward=scoring(lambda _, right: 0.5)))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_reward_that_pays_for_length_fails_on_length_alone(sign: int) -> None:
    assert failed(report(reward=scoring(lambda text, right: right + sign * len(text) / 1000))) == {"length_correlation"}


def test_a_reward_that_disagrees_with_the_verifier_fails_on_agreement_alone() -> None:
    assert failed(report(reward=scoring(lambda _, right: 1.0 - right))) == {"agreement"}


@pytest.mark.parametrize("final", [5, 6], ids=["all right", "all wrong"])
def test_samples_of_one_kind_cannot_show_agreement(final: int) -> None:
    samples = Samples([ROW] * 20, [f"{'so ' * n}#### {final}" for n in range(20)])
    assert "agreement" in failed(report(samples=samples))


def test_no_samples_fail() -> None:
    assert {"range", "agreement"} <= failed(report(samples=Samples([], [])))


def test_a_reward_that_returns_too_few_scores_is_an_error() -> None:
    with pytest.raises(RewardError, match="39 rewards for 40"):
        report(reward=lambda prompts, completions, rows: verify(prompts, completions, rows)[1:])


@pytest.mark.parametrize(
    ("thresholds", "name"),
    [
        ({"pair_accuracy_lower_bound": 0.92}, "pair_accuracy"),
        ({"min_agreement": 1.0, "pair_accuracy_lower_bound": 0.91}, None),
    ],
)
def test_thresholds_are_those_of_the_recipe(thresholds: dict[str, float], name: str | None) -> None:
    # Wilson's lower bound for 40 of 40 is 40 / (40 + 1.96**2) = 0.912.
    assert failed(report(thresholds=RewardValidation(**thresholds))) == ({name} if name else set())


# Figures by hand


def test_pair_accuracy_has_wilsons_interval() -> None:
    # Ten of ten, z = 1.96: low = 10 / (10 + 3.8415) = 0.7225, high = 1.
    check = pair_accuracy([1.0] * 10, [0.0] * 10, 0.72)
    assert (check.value, check.passed) == (1.0, True)
    assert (check.low, check.high) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_a_tie_counts_half_and_a_missing_score_counts_as_lost() -> None:
    # Won, lost, tied, and one that could not be judged: (1 + 0 + 0.5 + 0) / 4.
    assert pair_accuracy([2.0, 0.0, 1.0, math.nan], [1.0, 1.0, 1.0, 0.0], 0.0).value == 0.375


def test_finiteness_is_the_share_of_finite_values() -> None:
    assert finiteness([1.0, math.nan, 0.0, math.inf]).value == 0.5
    assert not finiteness([]).passed


def test_range_ignores_values_that_are_not_finite() -> None:
    assert value_range([1.0, math.nan, -0.5]).value == 1.5
    assert not value_range([math.nan]).passed


def test_agreement_is_the_share_of_right_and_wrong_answers_in_order() -> None:
    # Right 3 and 1 against wrong 2 and 0: 3>2, 3>0, 1>0 hold and 1>2 does not: 3 of 4.
    assert agreement([3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0], 0.6).value == 0.75


def test_a_tie_between_right_and_wrong_is_half_an_agreement() -> None:
    assert agreement([1.0, 1.0], [1.0, 0.0], 0.6).value == 0.5


def test_length_counts_only_among_answers_that_are_equally_right() -> None:
    # Right answers are longer and better paid, but within each kind the reward does not move with length.
    values, lengths = [1.0, 1.1] * 10 + [0.0, 0.1] * 10, [*range(100, 120), *range(20)]
    check = length_correlation(values, lengths, [1.0] * 20 + [0.0] * 20, 0.5)
    assert check.passed
    assert check.value == pytest.approx(0.0867, abs=1e-3)


def test_a_reward_in_the_order_of_length_correlates_wholly() -> None:
    assert length_correlation([1.0, 4.0, 9.0] * 4, [1, 2, 3] * 4, [1.0] * 12, 0.5).value == pytest.approx(1.0)
