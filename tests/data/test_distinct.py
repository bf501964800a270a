"""Rows that ask the same and that the gold judges differently stay, each with an id of its own, and are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.components.data.prepare import prepare
from ratchet.components.recipe import Data, JsonLines, load_recipe
from ratchet.components.storage.files import read_json_lines
from tests.places import MICRO

QUESTION = {"prompt": "How many sales were there in the first quarter of the year?", "answer": "count"}


def rows_of(count: int) -> list[dict[str, Any]]:
    """Rows that fill every table, all different."""
    return [{"prompt": f"Question {n} about {n * n}?", "answer": f"{n}", "db": "shop", "at": n} for n in range(count)]


def tables(place: Path, further: list[dict[str, Any]], **data: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows of the tables, with their table, and the summary."""
    place.mkdir()
    source = place / "rows.jsonl"
    source.write_text("\n".join(map(json.dumps, [*rows_of(60), *further])), encoding="utf-8")
    settings = {"checks": {"answers": "text"}, "split": {"dev": 0.2, "sealed": 0.2, "sealed_folds": 1, "pairs": 0.0}, **data}
    target = place / "out"
    target.mkdir()
    summary = prepare(Data.model_validate({"source": JsonLines(kind="jsonl", path=str(source)), **settings}), target).summary
    found = [{**row, "table": name} for name in summary["rows"] for row in read_json_lines(target / f"{name}.jsonl")]
    return found, summary


def test_rows_that_differ_in_a_column_that_counts_stay_in_one_table_under_different_ids(tmp_path: Path) -> None:
    twins = [{**QUESTION, "db": db, "at": 0} for db in ("shop", "bank", "bank")]
    found, summary = tables(tmp_path / "a", twins, distinct=["db"])
    asked = [row for row in found if row["prompt"] == QUESTION["prompt"]]
    assert sorted(row["item"]["db"] for row in asked) == ["bank", "shop"]
    assert len({row["id"] for row in asked}) == 2
    assert len({row["table"] for row in asked}) == 1
    (warning,) = summary["warnings"]
    assert warning.startswith("prompts in several rows that differ in db: 1 (")
    assert "rows.jsonl, row 61; " in warning
    assert summary["dropped"]["duplicates"] == 1


def test_in_other_columns_they_are_duplicates(tmp_path: Path) -> None:
    twins = [{**QUESTION, "db": "shop", "at": n} for n in range(2)]
    found, summary = tables(tmp_path / "a", twins, distinct=["db"])
    assert sum(row["prompt"] == QUESTION["prompt"] for row in found) == 1
    assert summary["dropped"]["duplicates"] == 1
    assert "warnings" not in summary


def test_without_twins_every_byte_is_as_without_the_option(tmp_path: Path) -> None:
    plain, distinct = (tables(tmp_path / name, [], **options)[0] for name, options in (("a", {}), ("b", {"distinct": ["db"]})))
    assert plain == distinct


def test_different_answers_are_no_contradiction_where_the_column_explains_them(tmp_path: Path) -> None:
    twins = [{**QUESTION, "db": db, "answer": f"count in {db}"} for db in ("shop", "bank")]
    found, _ = tables(tmp_path / "a", twins, distinct=["db"])
    assert {row["answer"] for row in found if row["prompt"] == QUESTION["prompt"]} == {"count in shop", "count in bank"}


def test_a_preference_belongs_to_the_first_of_its_prompts_rows(tmp_path: Path) -> None:
    twins: list[dict[str, Any]] = [{**QUESTION, "db": db} for db in ("shop", "bank")]
    pair = {"prompt": QUESTION["prompt"], "chosen": "good", "rejected": "bad"}
    found, _ = tables(tmp_path / "a", [*twins, pair], distinct=["db"])
    asked = [row for row in found if row["prompt"] == QUESTION["prompt"] and not row["table"].startswith("pairs")]
    assert sorted(row["item"]["db"] for row in asked) == ["bank", "shop"]


SQL = "graders={right: {type: sql, database: 'dbs/{{item.db}}.sqlite', reference: '{{item.query}}'}}"
FORMULA = (
    "graders={right: {type: multi, formula: a, graders: {a: {type: label, labels: [x, y], reference: '{{item.of.kind}}'}}}}"
)


@pytest.mark.parametrize(
    ("graders", "distinct"),
    [(SQL, ["db", "query"]), (FORMULA, ["of"]), ("graders={right: {type: exact}}", [])],
)
def test_the_columns_that_the_gold_reads_count(graders: str, distinct: list[str]) -> None:
    own = ["data.source={kind: jsonl, path: rows.jsonl}", "gate.rules.primary.measure=gold", "gate.rules.floor=0.0"]
    assert load_recipe(MICRO, [graders, *own]).data.distinct == distinct
    assert load_recipe(MICRO, [graders, "data.distinct=[town]", *own]).data.distinct == ["town", *distinct]
    assert load_recipe(MICRO, [graders, "data.keep=[]", *own]).data.distinct == []


def test_a_column_that_is_not_kept_cannot_count() -> None:
    with pytest.raises(ValidationError, match="distinct names the column 'db', which keep does not"):
        Data(keep=["town"], distinct=["db"])
