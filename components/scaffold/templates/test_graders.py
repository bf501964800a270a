"""The gold of ratchet.yaml on rows of its data: it passes the reference, and neither nothing nor another row's answer."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.sources import read_rows
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import load_recipe

PROJECT = Path(__file__).parents[1]
ROWS = 50


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The first rows, each with its prompt, answer and columns."""
    monkeypatch.chdir(PROJECT)  # paths in a recipe are relative to it
    return list(islice(read_rows(load_recipe(Path("ratchet.yaml")).data), ROWS))


def passed(rows: list[dict[str, Any]], completions: list[str]) -> list[bool | None]:
    gold = build_grader(load_recipe(Path("ratchet.yaml")).gold_settings)
    return [grade.passed for grade in gold([row["prompt"] for row in rows], completions, rows)]


def test_the_reference_passes(rows: list[dict[str, Any]]) -> None:
    assert passed(rows, [row["answer"] for row in rows]) == [True] * len(rows)


def test_nothing_fails(rows: list[dict[str, Any]]) -> None:
    assert passed(rows, [""] * len(rows)) == [False] * len(rows)


def test_another_rows_answer_fails(rows: list[dict[str, Any]]) -> None:
    answers = [row["answer"] for row in rows]
    others = [next(other for other in answers if other != answer) for answer in answers]
    assert passed(rows, others) == [False] * len(rows)
