"""Two tasks whose gold is not a number, from rows to champion: JSON by its fields, and SQL by the result of the query."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.examples import generate
from ratchet.components.files import read_json, read_json_lines
from ratchet.components.home import Home
from tests.places import ROOT
from tests.recipes import shop

RECIPES = ROOT / "tests" / "recipes"


def test_the_database_is_the_one_that_the_script_writes(tmp_path: Path) -> None:
    shop.write_database(tmp_path / "shop.sqlite")
    assert contents(tmp_path / "shop.sqlite") == contents(shop.DATABASE)


def contents(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_no_two_questions_have_the_same_answer() -> None:
    queries = set(references("shop").values())
    assert len({answer_of(query) for query in queries}) == len(queries)


def answer_of(query: str) -> str:
    """The one value that a query gives, or why it gives none."""
    with closing(sqlite3.connect(shop.DATABASE)) as connection:
        try:
            return repr(connection.execute(query).fetchall())
        except (sqlite3.Error, sqlite3.Warning) as error:
            return f"{type(error).__name__}: {query}"


def bill_of(completion: str) -> Any:
    try:
        return json.loads(completion)
    except ValueError:
        return completion


def references(task: str, asked: str = "") -> dict[str, str]:
    """The right answer of each prompt."""
    return {f"{asked}{row['text']}": row["answer"] for row in generate(task, demo_noise=0.0, seed=1)}


def run(recipe: str) -> dict[str, Any]:
    from ratchet.flows.finetune import finetune

    return finetune(recipe=str(RECIPES / recipe))


def stage(result: dict[str, Any], name: str) -> Path:
    key = next(one["key"] for one in result["stages"] if one["name"] == name)
    return Home.here().store / name / key


def assert_promoted(result: dict[str, Any], right: dict[str, str], meaning: Callable[[str], Any]) -> None:
    """Promoted by more right answers, each of which means the same as its row's reference."""
    assert (result["status"], result["verdict"]) == ("promoted", "PROMOTE")
    figures = read_json(stage(result, "evaluate") / "summary.json")
    before, after = (figures[f"{arm}_sampled"]["accuracy"]["value"] for arm in ("incumbent", "challenger"))
    assert before + 0.1 < after
    checks = {check["name"]: check for check in read_json(stage(result, "gold") / "report.json")["checks"]}
    assert (checks["gold_references"]["value"], checks["gold_planted"]["value"]) == (1.0, 0.0)
    arms = [f"{arm}_sampled.jsonl" for arm in ("incumbent", "challenger")]
    rows = [row for arm in arms for row in read_json_lines(stage(result, "evaluate") / arm)]
    assert {row["passed"] for row in rows} == {True, False}
    assert all(row["passed"] == (meaning(row["completion"]) == meaning(right[row["prompt"]])) for row in rows)


@pytest.mark.slow
def test_a_gold_of_json_fields_promotes(shared_project: Path) -> None:
    assert_promoted(run("extract.yaml"), references("bills", "As JSON: "), bill_of)


@pytest.mark.slow
def test_a_gold_of_query_results_promotes(shared_project: Path) -> None:
    shop.write_database(shared_project / "tests" / "recipes" / "shop.sqlite")
    assert_promoted(run("sql.yaml"), references("shop", "As SQL: "), answer_of)
