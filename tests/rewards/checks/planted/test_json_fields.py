"""Wrong answers to an extraction: each by hand, and each beyond what the grader itself lets pass."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.graders import json_match
from ratchet.components.recipe import Compared
from ratchet.components.rewards.checks.planted.json_fields import other_value, plants
from ratchet.components.rewards.checks.planted.texts import Case

BILL = {"total": 12.5, "paid": True, "due": "2026-12-31", "vendor": {"name": "Fjord", "phone": "1"}, "lines": ["b", "a"]}


def made(value: Any, fields: dict[str, Compared] | None = None, others: str = "auto", place: int = 0) -> dict[str, Any]:
    """Wrong answers by name, as objects, to the row at a place."""
    text = json.dumps(value)
    cases = [Case({}, text, text)] * (place + 1)
    found = {name: plant(cases)[place] for name, plant in plants(fields or {}, others).items()}
    return {name: json.loads(text) for name, text in found.items() if text is not None}


def test_one_field_of_each_kind_is_changed_by_hand() -> None:
    assert made(BILL) == {
        "a number of the JSON changed": {**BILL, "total": 13.5},
        "a flag of the JSON changed": {**BILL, "paid": False},
        "a date of the JSON changed": {**BILL, "due": "2027-01-01"},
        "a text of the JSON changed": {**BILL, "vendor": {"name": "Fjorx", "phone": "1"}},
        "a list of the JSON changed": {**BILL, "lines": ["b"]},
        "a list of the JSON turned round": {**BILL, "lines": ["a", "b"]},
        "a field of the JSON dropped": {name: value for name, value in BILL.items() if name != "total"},
        "a field added to the JSON": {**BILL, "planted": 1},
    }


def test_from_row_to_row_another_field_has_its_turn() -> None:
    assert made(BILL, place=1)["a text of the JSON changed"]["vendor"] == {"name": "Fjord", "phone": "2"}
    assert "paid" not in made(BILL, place=1)["a field of the JSON dropped"]


def test_what_is_not_compared_is_left_alone() -> None:
    ignored = made({"a": 1, "b": "x"}, {"b": Compared(by="ignore")})
    assert set(ignored) == {"a number of the JSON changed", "a field of the JSON dropped", "a field added to the JSON"}
    named = made({"a": 1, "b": "x"}, {"b": Compared()}, "ignore")
    assert set(named) == {"a text of the JSON changed", "a field of the JSON dropped"}
    assert named["a field of the JSON dropped"] == {"a": 1}


def test_a_list_without_order_is_not_turned_round() -> None:
    assert "a list of the JSON turned round" not in made({"lines": [1, 2]}, {"lines": Compared(by="unordered")})


@pytest.mark.parametrize(
    ("value", "way", "other"),
    [
        (10, Compared(by="number", abs=3), 14),
        (10, Compared(by="number", rel=0.5), 16),
        ("$1,200.00", Compared(by="number"), "1201"),
        (2_000_000, Compared(), -1),
        (-2_000_000, Compared(by="number", rel=0.5), 1_000_001),
        (10**400, Compared(by="number", rel=0.5), -(10**400 // 2 + 1)),
        (1.7e308, Compared(by="number", rel=1), -(int(1.7e308) + 1)),
        ("2026-11-27T10:00", Compared(by="date"), "2026-11-28T10:00"),
        ("9999-12-31", Compared(), "9999-12-30"),
        ("", Compared(), "x"),
        ([], Compared(), ["planted"]),
    ],
)
def test_json_faults_another_value_is_beyond_the_tolerance(value: Any, way: Compared, other: Any) -> None:
    assert other_value(value, way) == other


def test_references_that_are_no_object_have_no_such_wrong_answers() -> None:
    assert made([1]) == {}


WAYS = st.sampled_from(["auto", "text", "number", "date", "ordered", "unordered", "exact", "ignore"])
LEAVES = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=5), st.dates().map(str), st.lists(st.integers(0, 3)))
OBJECTS = st.dictionaries(st.sampled_from("abcd"), LEAVES | st.dictionaries(st.sampled_from("xy"), LEAVES), min_size=1)


@given(OBJECTS, st.dictionaries(st.sampled_from("abcd"), WAYS), st.sampled_from(["auto", "ignore"]), st.integers(0, 3))
def test_the_built_in_grader_passes_none_of_them(value: Any, ways: dict[str, str], others: str, place: int) -> None:
    fields = {name: Compared.model_validate({"by": by}) for name, by in ways.items()}
    comparisons = {name: json_match.Comparison(**way.model_dump()) for name, way in fields.items()}
    judge = json_match.rule("{{item.answer}}", comparisons, others, "all")
    for wrong in made(value, fields, others, place).values():
        assert judge(json.dumps(wrong), {"answer": json.dumps(value)}).passed is False
