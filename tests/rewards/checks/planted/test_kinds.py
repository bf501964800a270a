"""Each kind of gold has the wrong answers that fit it, and its references as it wants them written."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import is_right
from ratchet.components.recipe import GraderSettings
from ratchet.components.rewards.checks.on_gold import planted
from ratchet.components.rewards.checks.planted.kinds import kind_of
from ratchet.components.rewards.checks.planted.texts import Case

LABEL = {"type": "label", "labels": ["bug", "billing", "other"], "reference": "{{item.queue}}"}
PARTS = {"short": {"type": "length", "longest": 99}, "right": LABEL}
FORMULA = {"type": "multi", "graders": PARTS, "formula": "short * right", "passes_at": 1.0}
CHECK = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.word}}", "operation": "eq"}
JSON = {"type": "json_match", "reference": "{{item.bill}}", "fields": {"due": "date", "note": "ignore"}, "score": "all"}


def settings(values: dict[str, Any]) -> GraderSettings:
    found: GraderSettings = TypeAdapter(GraderSettings).validate_python(values)
    return found


def row(number: int, answer: Any = None, **item: Any) -> dict[str, Any]:
    return {"id": f"{number}", "prompt": f"Question {number}?", "answer": answer, "item": item}


def cases(values: dict[str, Any], rows: list[dict[str, Any]]) -> list[Case]:
    return [one for one in map(kind_of(settings(values)).case, rows) if one is not None]


ROWS = {
    "number": ({"type": "number", "form": "strict"}, [row(n, f"It is {n}.\n#### {n + 20}") for n in range(5)]),
    "plain number": ({"type": "number", "form": "strict"}, [row(n, f"{n}") for n in range(4, 9)]),
    "label": (LABEL, [row(n, queue=LABEL["labels"][n % 3]) for n in range(9)]),
    "label in a field": ({**LABEL, "field": "queue"}, [row(n, queue=LABEL["labels"][n % 3]) for n in range(9)]),
    "choice": ({"type": "choice"}, [row(n, f"It is {'ABCD'[n % 4]}") for n in range(9)]),
    "json": (JSON, [row(n, bill={"due": f"2026-01-{n + 1:02}", "sum": n, "note": "n", "of": ["a", "b"]}) for n in range(9)]),
    "exact": ({"type": "exact"}, [row(n, f"word {n}") for n in range(9)]),
    "similar": ({"type": "text_similarity", "passes_at": 0.9}, [row(n, f"{'abcdefghi'[n] * 9} of it") for n in range(9)]),
    "formula": (FORMULA, [row(n, queue=LABEL["labels"][n % 3]) for n in range(9)]),
    "openai": ({"type": "openai", "grader": CHECK}, [row(n, word=f"word {n}") for n in range(9)]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "rows"), ROWS.values(), ids=ROWS)
def test_references_are_right_and_planted_answers_wrong(values: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    grader, found = build_grader(settings(values)), cases(values, rows)
    assert all(map(is_right, grader([c.prompt for c in found], [c.reference for c in found], [c.row for c in found])))
    assert len(found) == len(rows)
    for name, asked in planted(kind_of(settings(values)), found).items():
        grades = grader([c.prompt for c, _ in asked], [text for _, text in asked], [c.row for c, _ in asked])
        assert not any(map(is_right, grades)), name


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("number", {"the number one larger"}),
        ("label", {"another label of the set", "the right label between others"}),
        ("choice", {"another label of the set", "the right label between others"}),
        ("exact", {"the reference with one character changed"}),
        ("similar", {"half of the reference"}),
        ("formula", {"another label of the set", "the right label between others"}),
        ("openai", {"the reference with every word changed", "the reference between two others"}),
        ("json", {"a number of the JSON changed", "a date of the JSON changed", "a list of the JSON changed",
                  "a list of the JSON turned round", "a field of the JSON dropped", "a field added to the JSON"}),
    ],
)  # fmt: skip
def test_each_kind_adds_its_own_wrong_answers(name: str, own: set[str]) -> None:
    values, rows = ROWS[name]
    every = {"the empty answer", "the prompt repeated", "another row's reference", "a text that says nothing"}
    assert set(planted(kind_of(settings(values)), cases(values, rows))) - {"the commonest reference"} == every | own


def test_a_label_in_a_field_is_written_as_json() -> None:
    (found,) = cases({**LABEL, "field": "queue"}, [row(0, queue="bug")])
    assert found.reference == '{"queue": "bug"}'


def test_other_labels_take_turns() -> None:
    plant = kind_of(settings(LABEL)).plants["another label of the set"]
    assert plant(cases(LABEL, [row(n, queue="bug") for n in range(3)])) == ["billing", "other", "billing"]


def test_a_query_with_the_right_result_is_not_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("one.sqlite")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
    values = {"type": "sql", "database": "one.sqlite"}
    found = cases(values, [row(0, "SELECT a FROM t"), row(1, "SELECT count(*) FROM t"), row(2, "SELECT 5")])
    asked = planted(kind_of(settings(values)), found)
    other = [(case.row["id"], text) for case, text in asked["another row's reference"]]
    assert other == [("1", "SELECT 5"), ("2", "SELECT a FROM t")]
    assert all(text != "SELECT 1" for case, text in asked["a text that says nothing"] if case is not found[2])


def test_rows_without_a_reference_are_no_cases() -> None:
    assert cases(LABEL, [row(0, "bug"), row(1, queue=None)]) == []
    assert cases({"type": "exact"}, [row(0)]) == []
