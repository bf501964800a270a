"""Extraction: each way of comparing, F1 by hand, and what is not a JSON object."""

import json
from typing import Any

import pytest

from ratchet.components.graders.json_match import Comparison, rule
from ratchet.components.graders.protocol import Grade

REFERENCE = {
    "total": 12.5,
    "date": "2026-03-01",
    "vendor": {"name": "Café Ä", "vat": None},
    "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}],
}
TURNED = {**REFERENCE, "lines": REFERENCE["lines"][::-1]}  # type: ignore[index]


def judged(completion: Any, reference: Any = REFERENCE, fields: dict[str, Comparison] | None = None, **options: Any) -> Grade:
    text = completion if isinstance(completion, str) else json.dumps(completion)
    return rule("{{item.expected}}", fields or {}, **options)(text, {"item": {"expected": reference}})


@pytest.mark.parametrize(
    ("change", "f1"),
    [  # the reference has four fields: total, date, vendor.name, lines; null is absent
        ({}, 1.0),
        ({"total": 12.6}, 6 / 8),
        ({"total": None}, 6 / 7),
        ({"extra": 1}, 8 / 9),
        ({"extra": None}, 1.0),
        ({"total": 1, "date": "2026-03-02"}, 4 / 8),
        ({"vendor": {"name": " café   ä "}}, 1.0),
        ({"vendor": {}, "vendor.name": "Café Ä"}, 6 / 8),
    ],
)
def test_the_score_is_f1_over_fields_and_passed_is_all_of_them(change: dict[str, Any], f1: float) -> None:
    grade = judged({**REFERENCE, **change})
    assert grade.score == pytest.approx(f1)
    assert grade.passed == (f1 == 1.0)


def test_the_fields_that_are_wrong_are_named() -> None:
    assert judged({**REFERENCE, "total": 1, "extra": 2}).reason == "wrong, missing or extra: extra, total"


def test_the_score_can_be_all_or_nothing() -> None:
    assert judged({**REFERENCE, "total": 1}, score="all") == Grade(
        0.0, {"parsed": 1.0, "f1": 0.75}, passed=False, reason="wrong, missing or extra: total"
    )
    assert judged(REFERENCE, score="all").score == 1.0


@pytest.mark.parametrize("text", ["```json\n{}\n```", "```\n{}```", " {} \n"])
def test_fences_are_tolerated(text: str) -> None:
    assert judged(text.format(json.dumps(REFERENCE)).replace("{}", json.dumps(REFERENCE))).passed


@pytest.mark.parametrize(
    "text",
    ["", "12", "[]", "null", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', "Here: {}", "{}{}", '{"a":' * 5000,
     '{"a": ' + "[" * 500 + "]" * 500 + "}"],
)  # fmt: skip
def test_what_is_not_one_json_object_is_wrong(text: str) -> None:
    grade = judged(text)
    assert (grade.score, grade.passed, grade.parts) == (0.0, False, {"parsed": 0.0})


@pytest.mark.parametrize(
    ("by", "expected", "found", "same"),
    [
        (Comparison("number", abs=0.01), 0.3, 0.29, True),  # the difference of the floats is above 0.01
        (Comparison("number", abs=0.01), 0.3, 0.289, False),
        (Comparison("number", rel=0.1), 200, 220, True),
        (Comparison("number", rel=0.1), 200, 221, False),
        (Comparison("number"), 1200, "$1,200.00", True),
        (Comparison("number"), "1200", 1200.0, True),
        (Comparison("number"), 1, True, False),
        (Comparison("number"), 1, "one", False),
        (Comparison("date"), "2026-03-01", "2026-03-01T10:00:00", True),
        (Comparison("date"), "2026-03-01", "01.03.2026", False),
        (Comparison("date"), "soon", "soon", False),
        (Comparison("text"), "Ä b", " a\u0308  B", True),
        (Comparison("text", ignore_case=False), "A", "a", False),
        (Comparison("exact"), "a", "a ", False),
        (Comparison("exact"), 1, 1.0, False),
        (Comparison(), 1, 1.0, True),
        (Comparison(), 1, True, False),
        (Comparison(), "1", 1, False),
        (Comparison(), [1, 2], [2, 1], False),
        (Comparison("unordered"), [1, 2, 2], [2, 1, 2], True),
        (Comparison("unordered"), [1, 1, 2], [2, 1, 2], False),
        (Comparison("unordered", abs=1), [1, 2], [3, 2], True),  # 1 takes 2, and 2 takes 3: no greedy order finds both
        (Comparison("unordered"), [], [], True),
        (Comparison("unordered"), [1], 1, False),
        (Comparison("unordered"), [{"a": 1}, {"b": 2}], [{"b": 2}, {"a": 1}], True),
        (Comparison(), {"a": None}, {}, True),
    ],
)
def test_values_are_the_same_as_their_field_says(by: Comparison, expected: Any, found: Any, same: bool) -> None:
    assert by.same(expected, found) is same


def test_a_named_field_is_compared_its_own_way_and_others_by_their_type() -> None:
    assert not judged(TURNED).passed
    assert judged(TURNED, fields={"lines": Comparison("unordered")}).passed
    assert judged({**REFERENCE, "vendor": {"name": "else"}}, fields={"vendor.name": Comparison("ignore")}).passed
    assert not judged({**TURNED, "total": 1}, fields={"lines": Comparison("unordered")}).passed


def test_fields_that_are_not_named_can_be_left_out() -> None:
    grade = judged({"total": 12.5, "more": 1}, fields={"total": Comparison("number")}, others="ignore")
    assert (grade.score, grade.passed) == (1.0, True)


@pytest.mark.parametrize("reference", [None, "{", "[1]", [1], 3, ""])
def test_json_match_faults_a_reference_that_does_not_parse_judges_nothing(reference: Any) -> None:
    grade = judged(REFERENCE, reference)
    assert grade.score is None
    assert grade.reason.startswith("the reference is not a JSON object")


def test_a_reference_may_be_json_in_a_text() -> None:
    assert judged(REFERENCE, json.dumps(REFERENCE)).passed
