"""A formula over graders: values, parts, and what happens where one of them cannot judge."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ratchet.components.formula import parse_formula
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.multi import Combined
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import GraderSettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)
BOTH = {"right": {"type": "exact"}, "short": {"type": "length", "longest": 4, "slope": 4.0}}


def settings(**change: Any) -> dict[str, Any]:
    return {"type": "multi", "formula": "0.9 * right + 0.1 * short", "graders": BOTH, **change}


def test_the_score_is_the_formulas_and_the_parts_are_the_graders() -> None:
    grader = build_grader(ADAPTER.validate_python(settings(passes_at=0.9)))
    grades = grader(["p"] * 2, ["Oslo", "Bergen"], [{"answer": "oslo"}] * 2)
    assert [grade.score for grade in grades] == pytest.approx([1.0, 0.05])  # Bergen is 2 of 4 characters too long
    assert grades[1].parts == {"right": 0.0, "short": 0.5}
    assert [grade.passed for grade in grades] == [True, False]


def test_a_formula_of_right_or_wrong_can_be_so_itself() -> None:
    both = {"right": {"type": "exact"}, "lower": {"type": "regex", "pattern": "[a-z]+", "whole": True}}
    grader = build_grader(ADAPTER.validate_python(settings(formula="right * lower", graders=both, measure="binary")))
    grades = grader(["p"] * 2, ["Oslo", "oslo"], [{"answer": "oslo"}] * 2)
    assert grader.measure.kind == "binary"
    assert [(grade.score, grade.passed) for grade in grades] == [(0.0, False), (1.0, True)]
    between = build_grader(ADAPTER.validate_python(settings(measure="binary")))(["p"], ["Bergen"], [{"answer": "oslo"}])
    assert (between[0].score, between[0].fault) == (None, "protocol")


@pytest.mark.parametrize("weights", [(0.4, 0.2, 0.3, 0.1), (0.7, 0.2, 0.1)])  # whose sums are above and below 1 in float64
def test_weights_that_add_up_to_1_give_1(weights: tuple[float, ...]) -> None:
    formula, graders = " + ".join(f"{w} * g{n}" for n, w in enumerate(weights)), {f"g{n}": {"type": "exact"} for n in range(4)}
    used = {name: graders[name] for name in parse_formula(formula).names}
    grader = build_grader(ADAPTER.validate_python({"type": "multi", "formula": formula, "graders": used, "passes_at": 1.0}))
    grades = grader(["p"] * 2, ["Oslo", "Rome"], [{"answer": "Oslo"}] * 2)
    assert sum(weights) != 1.0
    assert [(grade.score, grade.passed) for grade in grades] == [(1.0, True), (0.0, False)]


def test_multi_faults_where_a_grader_cannot_judge_neither_can_the_formula() -> None:
    graders = {"a": lambda *_: [Grade(None, fault="timeout", reason="late")], "b": lambda *_: [Grade(1.0)]}
    (grade,) = Combined(parse_formula("a + b"), graders)(["p"], ["c"], [{}])
    assert (grade.score, grade.fault, grade.reason, grade.parts) == (None, "timeout", "a: late", {"b": 1.0})


def test_multi_faults_a_formula_without_a_value_is_a_fault() -> None:
    (grade,) = Combined(parse_formula("1 / a"), {"a": lambda *_: [Grade(0.0)]})(["p"], ["c"], [{}])
    assert (grade.score, grade.fault) == (None, "protocol")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formula": "right + fields"}, "do not name the same: fields, short"),
        ({"formula": "right"}, "do not name the same: short"),
        ({"formula": "right +"}, "is not a formula"),
        ({"formula": "open(right)"}, "cannot stand in a formula"),
        ({"graders": {}}, "at least 1"),
        ({"range": [1.0, 0.0]}, "must be"),
        ({"range": None, "measure": "binary"}, "range is null"),
    ],
)
def test_multi_faults_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(settings(**change))


def test_the_digest_holds_the_graders_digests() -> None:
    other = {**BOTH, "right": {"type": "exact", "ignore_case": False}}
    digests = {build_grader(ADAPTER.validate_python(settings(graders=one))).digest for one in (BOTH, other)}
    assert len(digests) == 2


def test_without_a_range_values_stay_as_they_are() -> None:
    grader = build_grader(ADAPTER.validate_python(settings(range=None, formula="3 * right - short", passes_at=2.0)))
    grades = grader(["p"] * 2, ["Oslo", "x"], [{"answer": "oslo"}] * 2)
    assert [(grade.score, grade.passed) for grade in grades] == [(2.0, True), (-1.0, False)]
