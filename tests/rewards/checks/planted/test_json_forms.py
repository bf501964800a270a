"""Which JSON texts are the same answer: what the recipe's comparison ignores is no difference, all else is one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.graders import json_match
from ratchet.components.recipe import Compared, JsonMatch
from ratchet.components.rewards.checks.on_gold import planted
from ratchet.components.rewards.checks.planted.json_forms import form_of, same
from ratchet.components.rewards.checks.planted.kinds import kind_of

AUTO, DATE, NUMBER = Compared(), Compared(by="date"), Compared(by="number")
UNORDERED = Compared(by="unordered")


def test_two_forms_are_equal_if_the_fields_that_count_are() -> None:
    fields = {"b": Compared(by="ignore")}
    assert form_of('{"a": 1, "b": 2, "c": {"d": 3}}', fields) == form_of('{"c": {"d": 3}, "b": 5, "a": 1.0}', fields)
    assert form_of('{"a": 1}', fields) != form_of('{"a": 2}', fields)
    assert form_of('{"a": 1}', fields) != form_of('{"a": "1"}', fields)
    assert form_of("Not JSON ", {}) == "not json"


@pytest.mark.parametrize(
    ("way", "one", "other"),
    [
        (AUTO, "Billing ", "billing"),
        (AUTO, 1, 1.0),
        (AUTO, [{"a": 1, "b": None}], [{"a": 1.0}]),
        (AUTO, "e\u0301", "\u00e9"),
        (NUMBER, "$1,200", 1200),
        (DATE, "2026-01-02T10:00:00Z", "2026-01-02"),
        (UNORDERED, ["b", {"c": [1, 2]}, "a"], ["A", "B", {"c": [1, 2]}]),
        (Compared(by="number", abs=0.05), 2, 2.05),
        (Compared(by="number", rel=0.5), -2_000_000, -3_000_000),
        (Compared(by="unordered", abs=0.5), [9.9, 1], [1, 10]),
        (Compared(by="exact"), [1, "A"], [1, "A"]),
    ],
)
def test_json_faults_what_the_comparison_ignores_is_the_same_answer(way: Compared, one: Any, other: Any) -> None:
    assert same(json.dumps({"x": one}), json.dumps({"x": other}), {"x": way})


@pytest.mark.parametrize(
    ("way", "one", "other"),
    [
        (Compared(ignore_case=False), "Billing", "billing"),
        (AUTO, "1", 1),
        (AUTO, "1", "1.0"),
        (AUTO, True, 1),
        (AUTO, ["a", "b"], ["b", "a"]),
        (AUTO, None, 0),
        (NUMBER, "$1,200", 1201),
        (DATE, "2026-01-02T10:00:00Z", "2026-01-03"),
        (UNORDERED, ["a", "a", "b"], ["a", "b", "b"]),
        (UNORDERED, [[1, 2]], [[2, 1]]),
        (Compared(by="number", abs=0.05), 2, 2.0501),
        (Compared(by="exact"), 1, 1.0),
        (Compared(by="exact"), "a", "A"),
    ],
)
def test_what_the_comparison_sees_is_another_answer(way: Compared, one: Any, other: Any) -> None:
    assert not same(json.dumps({"x": one}), json.dumps({"x": other}), {"x": way})


def test_json_faults_another_row_with_the_same_answer_is_not_planted() -> None:
    settings = JsonMatch(type="json_match", fields={"tags": UNORDERED, "sum": Compared(by="number", abs=0.05)})
    answers = [{"tags": ["a", "b"], "sum": 1}, {"tags": ["B", "A"], "sum": 1.01}, {"tags": ["c"], "sum": 1}]
    kind = kind_of(settings)
    cases = [case for n, one in enumerate(answers) if (case := kind.case({"id": f"{n}", "prompt": "p", "answer": one}))]
    asked = planted(kind, cases)["another row's reference"]
    assert [(case.row["id"], json.loads(text)) for case, text in asked] == [("1", answers[2]), ("2", answers[0])]


WAYS = st.sampled_from(["auto", "text", "number", "date", "ordered", "unordered", "exact", "ignore"])
ENTRIES = st.sampled_from([1, 1.0, 2, "1", "$1", "a", "A ", "2026-01-02", "2026-01-02T10:00", None])
OBJECTS = st.dictionaries(st.sampled_from("ab"), ENTRIES | st.lists(ENTRIES, max_size=3), min_size=1)


@given(OBJECTS, OBJECTS, st.dictionaries(st.sampled_from("ab"), WAYS), st.sampled_from(["auto", "ignore"]))
def test_json_faults_what_the_grader_passes_is_the_same(one: Any, other: Any, ways: dict[str, str], others: str) -> None:
    fields = {name: Compared.model_validate({"by": by}) for name, by in ways.items()}
    comparisons = {name: json_match.Comparison(**way.model_dump()) for name, way in fields.items()}
    passed = json_match.rule("{{item.answer}}", comparisons, others)(json.dumps(other), {"answer": json.dumps(one)}).passed
    assert same(json.dumps(one), json.dumps(other), fields, others) or not passed
