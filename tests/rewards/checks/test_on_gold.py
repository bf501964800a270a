"""The gold itself is judged: by references, by planted wrong answers, and by whether it gives one answer one grade."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ratchet.components.graders import json_match, label, number
from ratchet.components.graders.protocol import Grade, RewardFunction, is_read
from ratchet.components.graders.rule import RuleGrader, right_or_wrong
from ratchet.components.recipe import Choice, GoldValidation, GraderSettings, JsonMatch, Label, Math, Numbers
from ratchet.components.rewards.checks.check import Check
from ratchet.components.rewards.checks.on_gold import (
    MASTERS,
    PROBED_ROWS,
    PROBED_WRONG,
    Asking,
    Found,
    gold_checks,
    gold_parsed,
    gold_signal,
    planted,
    spread,
)
from ratchet.components.rewards.checks.planted.kinds import kind_of

LABELS = ["card", "login", "refund"]
WORDS = Choice(type="choice", options=LABELS)
QUEUES = Label(type="label", labels=LABELS, reference="{{item.queue}}")
BILLS = JsonMatch(type="json_match", reference="{{item.bill}}")
ROWS = [{"id": f"{n:04x}", "prompt": f"Ticket {n}", "answer": LABELS[n % 3]} for n in range(90)]
SUMS = [{"id": f"{n:04x}", "prompt": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(90)]
NAMES = ["gold_references", "gold_planted", "gold_stable", "gold_alone", "gold_faults"]


def grader(rule: Callable[[str, Mapping[str, Any]], Grade]) -> RewardFunction:
    return RuleGrader(rule, "digest")


EXACT = grader(lambda text, row: right_or_wrong(text.strip() == row["answer"]))
CONTAINS = grader(lambda text, row: right_or_wrong(row["answer"] in text or not text))  # empty answers pass
NUMBERS = grader(number.rule(strict=True, last_number=False))


def found(
    gold: RewardFunction,
    rows: Sequence[Mapping[str, Any]] = ROWS,
    settings: GraderSettings = WORDS,
    wanted: GoldValidation | None = None,
    **asking: Any,
) -> Found:
    again = asking.pop("again", gold)
    return gold_checks(Asking(gold, again, kind_of(settings), wanted or GoldValidation(), **asking), rows)


def judged(gold: RewardFunction, rows: Sequence[Mapping[str, Any]] = ROWS, *more: Any, **asking: Any) -> dict[str, Check]:
    return {check.name: check for check in found(gold, rows, *more, **asking).checks}


@pytest.mark.parametrize(("gold", "rows", "settings"), [(EXACT, ROWS, WORDS), (NUMBERS, SUMS, Numbers())])
def test_a_gold_that_reads_answers_right_passes_and_catches_everything(
    gold: RewardFunction, rows: Any, settings: GraderSettings
) -> None:
    of_gold = found(gold, rows, settings)
    assert {check.name: check.passed for check in of_gold.checks} == dict.fromkeys(NAMES, True)
    assert (of_gold.missed, of_gold.mutation_score) == ([], 1.0)
    assert of_gold.planted > 4 * len(rows)
    assert f"mutation score 1.000 of {of_gold.planted}" in of_gold.checks[1].detail
    assert of_gold.broken == []


def test_references_that_the_gold_does_not_accept_are_listed() -> None:
    rows = [{**row, "answer": "refunds"} if row["id"] in ("0003", "0005") else row for row in ROWS]
    of_gold = found(grader(lambda text, row: right_or_wrong(text in LABELS and text == row["answer"])), rows)
    check = of_gold.checks[0]
    assert (check.passed, check.value) == (False, pytest.approx(88 / 90))
    assert "0003; 0005" in check.detail
    assert [one.row for one in of_gold.broken] == ["0003", "0005"]


LABELLED = RuleGrader(label.rule(LABELS, QUEUES.reference), "digest")


def queued(queues: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"id": f"{n}", "prompt": f"Ticket {n}", "item": {"queue": queue}} for n, queue in enumerate(queues)]


def test_reference_faults_one_label_outside_of_the_set_is_refused_with_its_row_and_reason() -> None:
    rows = queued([*LABELS * 100, "refunds"])
    check = judged(LABELLED, rows, QUEUES, by_rule=True, needs_all=True)["gold_references"]
    assert (check.passed, check.threshold, check.value) == (False, 1.0, pytest.approx(300 / 301))
    assert "300 (the reference 'refunds' is not one of card, login, refund)" in check.detail
    assert judged(LABELLED, rows, QUEUES, by_rule=True)["gold_references"].passed is True  # of other kinds one in a hundred may


def test_reference_faults_a_row_without_the_column_is_broken() -> None:
    of_gold = found(LABELLED, queued([*LABELS * 33, None]), QUEUES, by_rule=True)
    assert [one.row for one in of_gold.broken] == ["99"]
    assert of_gold.checks[0].value == 0.99


def test_all_references_of_a_rule_are_graded_and_its_wrong_answers_on_a_part_of_the_rows() -> None:
    rows = queued([*LABELS * 33, "x"])
    of_gold = found(LABELLED, rows, QUEUES, GoldValidation(rows=30), by_rule=True)
    assert "of 100 rows" in of_gold.checks[0].detail
    assert of_gold.planted <= 30 * 6 + 30 * 14


def test_no_reference_is_graded_twice_by_the_gold_itself() -> None:
    asked: list[tuple[str, str]] = []

    def counting(text: str, row: Mapping[str, Any]) -> Grade:
        asked.append((row["id"], text))
        return right_or_wrong(text == row["answer"])

    found(grader(counting), again=EXACT)
    references = [(row["id"], row["answer"]) for row in ROWS]
    assert sum(asked.count(one) > 1 for one in references) == PROBED_ROWS  # graded in several ways on purpose


def test_one_field_that_the_gold_does_not_look_at_is_seen() -> None:
    """A gold that compares the sum alone takes bills with another vendor for right."""
    rows = [{"id": f"{n}", "prompt": "p", "item": {"bill": {"sum": n, "to": "abc"[n % 3]}}} for n in range(60)]
    blind = RuleGrader(json_match.rule(BILLS.reference, {"to": json_match.Comparison("ignore")}, score="all"), "digest")
    of_gold = found(blind, rows, BILLS)
    check = of_gold.checks[1]
    assert (check.passed, check.value) == (False, 1.0)
    assert 'worst: a text of the JSON changed, such as \'{"sum": 0, "to": "x"}\' to 0;' in check.detail
    assert len(of_gold.missed) == 60 + 30  # the text, and every second dropped field
    assert of_gold.mutation_score == pytest.approx(1 - 90 / of_gold.planted)


def test_a_gold_that_takes_the_empty_answer_is_refused_by_its_name() -> None:
    check = judged(CONTAINS)["gold_planted"]
    assert (check.passed, check.value) == (False, 1.0)
    assert "worst: the empty answer" in check.detail


@pytest.mark.parametrize("settings", [Numbers(form="lenient", last_number=True), Math(type="math")])
def test_master_faults_a_text_that_says_the_reference_is_not_planted(settings: GraderSettings) -> None:
    rows = [{"id": f"{n}", "prompt": "p", "answer": "12"[n % 2]} for n in range(4)]
    asked = planted(kind_of(settings), [case for row in rows if (case := kind_of(settings).case(row)) is not None])
    assert [case.row["answer"] for case, text in asked[MASTERS] if text == "SELECT 1"] == ["2", "2"]
    assert len(asked[MASTERS]) == 2 * 13 + 2 * 14  # "SELECT 1" is right where the reference is 1


def test_a_gold_that_asks_for_no_reference_takes_another_rows() -> None:
    check = judged(grader(lambda text, row: right_or_wrong(text in LABELS)))["gold_planted"]
    assert check.passed is False
    assert "another row's reference" in check.detail or "commonest" in check.detail


def test_planted_faults_an_answer_that_the_gold_declines_is_not_caught() -> None:
    of_gold = found(grader(lambda text, row: right_or_wrong(True) if text == row["answer"] else Grade(None)))
    check = of_gold.checks[1]
    assert (check.passed, check.detail, of_gold.mutation_score) == (False, "the gold judged none of them", None)
    assert "judge wrong answers too" in check.advice


def test_planted_faults_the_mutation_score_is_of_the_answers_that_were_judged() -> None:
    def lenient(text: str, row: Mapping[str, Any]) -> Grade:
        return right_or_wrong(text == row["answer"] or not text) if text in ("", *LABELS) else Grade(None)

    of_gold = found(grader(lenient), ROWS[:3])
    # the empty answer is taken 3 times; another row's reference and another label are caught 3 times each, the commonest 2
    assert (len(of_gold.missed), of_gold.planted, of_gold.mutation_score) == (3, 11, pytest.approx(8 / 11))


def test_a_gold_that_remembers_is_not_stable() -> None:
    seen: list[str] = []

    def remembering(text: str, row: Mapping[str, Any]) -> Grade:
        seen.append(text)
        return right_or_wrong(text == row["answer"] and len(seen) <= len(ROWS))

    assert judged(grader(remembering))["gold_stable"].passed is False


def test_another_process_that_grades_otherwise_is_seen() -> None:
    other = grader(lambda text, row: right_or_wrong(text.strip() == row["answer"] and row["id"] != "0007"))
    check = judged(EXACT, again=other)["gold_stable"]
    assert check.passed is False
    assert judged(EXACT, again=other)["gold_alone"].passed is True  # within one process each grade stands alone


def best_of_its_call(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """The share of the others of the call that a completion beats: its place in the group, as rankings have it."""
    right = [text == row["answer"] for text, row in zip(completions, rows, strict=True)]
    return [Grade((one - sum(right) / len(right) + 1) / 2, passed=one) for one in right]


def test_a_grade_that_depends_on_the_others_of_its_call_is_refused_as_gold() -> None:
    checks = judged(best_of_its_call)
    assert (checks["gold_alone"].passed, checks["gold_alone"].value) == (False, 1.0)
    assert "depends on the others in its call" in checks["gold_alone"].advice


def test_a_gold_that_cannot_grade_one_completion_is_refused_too() -> None:
    def in_groups(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        if len(completions) == 1:
            return [Grade(None, fault="raised")]
        return EXACT(prompts, completions, rows)

    check = judged(in_groups)["gold_alone"]
    assert (check.passed, check.value) == (False, 0.5)
    assert check.detail == f"{PROBED_ROWS * (1 + PROBED_WRONG)} answers, each also by itself"


def test_faults_are_counted_by_kind() -> None:
    checks = judged(
        grader(lambda text, row: Grade(None, fault="timeout") if text == "card" else right_or_wrong(text == row["answer"]))
    )
    assert checks["gold_faults"].passed is False
    assert "timeout" in checks["gold_faults"].detail


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
    check = gold_signal([np.array(scores)] * 200, GoldValidation())
    assert check.passed is passed
    assert advice in check.advice


@pytest.mark.parametrize(
    ("read", "says", "passed"),
    [
        ([1.0, 0.0], True, True),
        ([1.0, *[np.nan] * 24], True, True),  # not judged, of rows without a reference
        ([0.0, 0.0], True, False),
        ([0.0, 0.0], False, None),
        ([np.nan], True, None),
    ],
)
def test_a_policy_whose_answers_cannot_be_read_is_refused_if_the_grader_says_what_it_reads(
    read: list[float], says: bool, passed: bool | None
) -> None:
    check = gold_parsed([np.array(read)] * 200, says, GoldValidation())
    assert check.passed is passed
    assert "finds no answer" in check.advice


@pytest.mark.parametrize(
    ("grade", "read"),
    [
        (Grade(0.0, passed=False, answer="7"), True),
        (Grade(0.0, {"parsed": 0.0}, passed=False), False),
        (Grade(0.0, {"parsed": 1.0, "f1": 0.0}, passed=False), True),
        (Grade(0.0, {"ran": 1.0}, passed=False), True),
        (Grade(1.0, passed=True), False),
    ],
)
def test_an_answer_was_read_if_the_grade_has_one_or_says_that_it_parsed_or_ran(grade: Grade, read: bool) -> None:
    assert is_read(grade) is read


def test_rows_without_references_are_not_judged() -> None:
    of_gold = found(EXACT, [{"id": "0", "prompt": "p", "answer": None}])
    assert [check.passed for check in of_gold.checks] == [None] * 5
    assert of_gold.mutation_score is None


def test_a_gold_that_gives_no_reference_a_score_is_told_so() -> None:
    checks = judged(grader(lambda text, row: Grade(None)))
    assert (checks["gold_references"].value, checks["gold_references"].passed) == (0.0, False)
    assert checks["gold_references"].advice.startswith("The gold gives no reference a score")
    wrong = judged(grader(lambda text, row: right_or_wrong(False)))["gold_references"]
    assert wrong.advice.startswith("The gold does not accept these references")


def test_where_not_every_row_is_graded_the_bound_of_the_interval_counts() -> None:
    check = judged(EXACT, ROWS, WORDS, GoldValidation(rows=30))["gold_references"]
    assert (check.value, check.passed, check.undecided) == (1.0, False, True)  # 30 of 30: the lower bound is 0.89
    assert len(spread(ROWS, 30)) == 30
