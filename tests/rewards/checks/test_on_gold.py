"""The gold itself is judged: by references, by planted wrong answers, and by whether it gives one answer one grade."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ratchet.components.graders import number
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.graders.rule import RuleGrader, right_or_wrong
from ratchet.components.recipe import GoldValidation
from ratchet.components.rewards.checks.check import Check
from ratchet.components.rewards.checks.on_gold import gold_checks, spread
from ratchet.components.rewards.checks.wrong_answers import changed, echo, majority, swapped

LABELS = ["card", "login", "refund"]
ROWS = [{"id": f"{n:04x}", "prompt": f"Ticket {n}", "answer": LABELS[n % 3]} for n in range(90)]
SUMS = [{"id": f"{n:04x}", "prompt": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(90)]
MIXED = [np.array([1.0, 0.0])] * 200


def grader(rule: Callable[[str, Mapping[str, Any]], Grade]) -> RewardFunction:
    return RuleGrader(rule, "digest")


def judged(
    gold: RewardFunction, rows: Sequence[Mapping[str, Any]] = ROWS, sampled: Sequence[Any] = MIXED, **wanted: Any
) -> dict[str, Check]:
    return {check.name: check for check in gold_checks(gold, gold, rows, sampled, GoldValidation(**wanted))}


EXACT = grader(lambda text, row: right_or_wrong(text.strip() == row["answer"]))
CONTAINS = grader(lambda text, row: right_or_wrong(row["answer"] in text or not text))  # empty answers pass
NUMBERS = grader(number.rule(strict=True, last_number=False))


@pytest.mark.parametrize(("gold", "rows"), [(EXACT, ROWS), (NUMBERS, SUMS)])
def test_a_gold_that_reads_answers_right_passes_and_catches_everything(gold: RewardFunction, rows: Any) -> None:
    found = judged(gold, rows)
    assert {name: check.passed for name, check in found.items()} == dict.fromkeys(found, True)
    assert "mutation score 1.000" in found["gold_planted"].detail


def test_references_that_the_gold_does_not_accept_are_listed() -> None:
    rows = [{**row, "answer": "refunds"} if row["id"] in ("0003", "0005") else row for row in ROWS]
    found = judged(grader(lambda text, row: right_or_wrong(text in LABELS and text == row["answer"])), rows)["gold_references"]
    assert found.passed is False
    assert found.value == pytest.approx(88 / 90)
    assert "0003, 0005" in found.detail


def test_a_gold_that_takes_the_empty_answer_is_refused_by_its_name() -> None:
    found = judged(CONTAINS)["gold_planted"]
    assert (found.passed, found.value) == (False, 1.0)
    assert "worst: the empty answer" in found.detail


def test_a_gold_that_asks_for_no_reference_takes_another_rows() -> None:
    found = judged(grader(lambda text, row: right_or_wrong(text in LABELS)))["gold_planted"]
    assert found.passed is False
    assert "another row's reference" in found.detail or "commonest" in found.detail


def test_a_gold_that_remembers_is_not_stable() -> None:
    seen: list[str] = []

    def remembering(text: str, row: Mapping[str, Any]) -> Grade:
        seen.append(text)
        return right_or_wrong(text == row["answer"] and len(seen) <= len(ROWS))

    assert judged(grader(remembering))["gold_stable"].passed is False


def test_faults_are_counted_by_kind() -> None:
    found = judged(
        grader(lambda text, row: Grade(None, fault="timeout") if text == "card" else right_or_wrong(text == row["answer"]))
    )
    assert found["gold_faults"].passed is False
    assert "timeout" in found["gold_faults"].detail


@pytest.mark.parametrize(
    ("scores", "passed", "advice"),
    [
        ([0.0, 0.0], False, "no signal"),
        ([1.0, 1.0], False, "nothing to gain"),
        ([1.0, 0.0], True, ""),
        ([0.4, np.nan], True, ""),
    ],
)
def test_a_policy_that_is_never_or_always_right_leaves_nothing_to_learn(scores: list[float], passed: bool, advice: str) -> None:
    found = judged(EXACT, sampled=[np.array(scores)] * 200)["gold_signal"]
    assert found.passed is passed
    assert advice in found.advice


def test_rows_without_references_are_not_judged() -> None:
    found = judged(EXACT, [{"id": "0", "prompt": "p", "answer": None}])
    assert [found[name].passed for name in ("gold_references", "gold_planted", "gold_stable")] == [None, None, None]


def test_where_not_every_row_is_graded_the_bound_of_the_interval_counts() -> None:
    found = {check.name: check for check in gold_checks(EXACT, EXACT, ROWS, MIXED, GoldValidation(rows=30))}["gold_references"]
    assert (found.value, found.passed, found.undecided) == (1.0, False, True)  # 30 of 30: the lower bound is 0.89
    assert len(spread(ROWS, 30)) == 30


def test_planted_answers_by_hand() -> None:
    rows = [
        {"prompt": "Is 5 the answer?", "answer": "#### 5"},
        {"prompt": "Sort: red", "answer": json.dumps({"b": "x", "a": 3})},
        {"prompt": "Sort: blue", "answer": "blue"},
    ]
    assert changed(rows) == ["#### 6", json.dumps({"b": "x", "a": 4}), None]
    assert echo(rows) == [None, "Sort: red", None]  # the others contain their reference
    assert swapped(rows) == [rows[1]["answer"], "blue", "#### 5"]
    assert majority([rows[2], rows[0], rows[2]]) == [None, "blue", None]
