"""Graders that read one place of the completion's JSON have references that are right, and wrong answers that are wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import GoldValidation, OpenAI, StringCheck
from ratchet.components.rewards.checks.on_gold import Asking, gold_checks
from ratchet.components.rewards.checks.planted.json_place import held, place_read, whole
from ratchet.components.rewards.checks.planted.kinds import kind_of

TOWNS = ["Oslo", "Bergen", "Turku"]


def grader(place: str) -> StringCheck:
    return StringCheck(type="string_check", name="c", input=place, reference="{{item.town}}", operation="eq")


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("{{sample.output_json.to.town}}", ("to", "town")),
        ("{{sample.output_json}}", ()),
        ("{{sample.output_json.towns[0]}}", ("towns", 0)),
        ("{{sample.output_text}}", ()),
        ("in {{sample.output_json.town}}", ()),
        ("{{sample.output_json.a}}{{sample.output_json.b}}", ()),
        ("town", ()),
    ],
)
def test_a_grader_reads_one_place_or_something_else(place: str, names: tuple[str, ...]) -> None:
    assert place_read(grader(place)) == names


@pytest.mark.parametrize(
    ("steps", "reference", "completion"),
    [
        (("to", "town"), "Oslo", '{"to": {"town": "Oslo"}}'),
        (("total",), 42, '{"total": 42}'),
        (("lines", 1, "total"), 4.5, '{"lines": [{"total": 4.5}, {"total": 4.5}]}'),
    ],
)
def test_a_reference_is_put_in_its_place_as_the_value_that_it_is(steps: Any, reference: Any, completion: str) -> None:
    assert whole(lambda row: row["reference"], steps)({"reference": reference}) == completion


def test_the_form_is_what_stands_there() -> None:
    assert held(("town",))('{"n": 1, "town": "OSLO"}') == held(("town",))("oslo") == "oslo"


def test_the_rows_answer_is_taken_where_it_says_the_same() -> None:
    find = whole(lambda row: row["town"], ("town",))
    assert find({"town": "Oslo", "answer": '{"town": "Oslo", "n": 1}'}) == '{"town": "Oslo", "n": 1}'
    assert find({"town": "Oslo", "answer": '{"town": "Bergen"}'}) == find({"town": "Oslo"}) == '{"town": "Oslo"}'
    assert find({"town": None}) is None


@pytest.mark.parametrize("schema", [None, {"type": "object", "required": ["town", "n"]}])
def test_such_a_gold_is_validated(schema: Mapping[str, Any] | None) -> None:
    settings = OpenAI(type="openai", grader=grader("{{sample.output_json.town}}"), response=schema)
    answers = [f'{{"town": "{TOWNS[n % 3]}", "n": {n}}}' for n in range(60)]
    rows = [{"id": str(n), "prompt": f"Ticket {n}", "item": {"town": TOWNS[n % 3]}, "answer": answers[n]} for n in range(60)]
    gold = build_grader(settings)
    found = gold_checks(Asking(gold, gold, kind_of(settings), GoldValidation()), rows)
    assert [check.passed for check in found.checks] == [True] * 5
    assert found.mutation_score == 1.0
