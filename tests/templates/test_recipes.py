"""The recipes beside the tests run in this repository what the templates are in a project of their own."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.recipe import load_recipe
from ratchet.components.scaffold.templates.shop_database import database
from tests.places import ROOT
from tests.templates.projects import write

BESIDE = ROOT / "tests" / "recipes"


def values(recipe: Path) -> dict[str, Any]:
    """All but where rows and database are."""
    found = load_recipe(recipe).model_dump(mode="json")
    for grader in (*found["graders"].values(), found["reward"]["verifier"]):
        grader.pop("database", None)
    del found["data"]["source"]
    return found


@pytest.mark.parametrize("kind", ["classify", "extract", "sql"])
def test_a_recipe_beside_the_tests_is_its_template(kind: str, tmp_path: Path) -> None:
    assert values(BESIDE / f"{kind}.yaml") == values(write(kind, tmp_path) / "ratchet.yaml")


def contents(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


def test_the_database_beside_the_tests_is_the_templates(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").write_bytes(database())
    assert contents(tmp_path / "shop.sqlite") == contents(BESIDE / "shop.sqlite")
