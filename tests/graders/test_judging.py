"""What a recipe brings of its own to judge by, wherever in the recipe it is named."""

from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.graders.judging import all_graders, judging_files, judging_functions
from ratchet.components.recipe import Recipe, load_recipe

RECIPE = """
name: m
data: {source: rows.jsonl}
task: {prompt: "{{item.q}}", answer: "{{item.a}}", response: {json_schema: schema.json}}
graders:
  query: {type: sql, database: shop.db, reference: "{{item.answer}}"}
  mine: {file: "mine.py:grade", files: [towns.csv]}
  theirs: {openai: grader.json}
  both:
    type: multi
    formula: 0.5 * one + 0.5 * two
    graders: {one: {type: sql, database: "dbs/{{item.db}}.db", reference: "{{item.answer}}"}, two: {file: "two.py:grade"}}
gold: {grader: query}
reward:
  kind: sum
  files: [prices.csv]
  terms:
    - {name: paid, weight: 1.0, of: custom, function: "paid.py:score"}
    - {name: length, weight: 1.0, of: verifier, verifier: {file: "length.py:score"}}
gate: {rules: {floor: 0.1}}
"""
FOUND = [
    "dbs/a.db",
    "dbs/b.db",
    "grader.json",
    "helper.py",
    "length.py",
    "mine.py",
    "paid.py",
    "prices.csv",
    "schema.json",
    "shop.db",
    "towns.csv",
    "two.py",
]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dbs").mkdir()
    for name in (*FOUND, "unused.py", "unused.db", "unused.csv"):
        (tmp_path / name).write_text("import helper\n" if name == "mine.py" else "", encoding="utf-8")
    (tmp_path / "ratchet.yaml").write_text(RECIPE, encoding="utf-8")
    return load_recipe(tmp_path / "ratchet.yaml")


def test_every_file_that_judges_is_found(tmp_path: Path, recipe: Recipe) -> None:
    assert [file.relative_to(tmp_path).as_posix() for file in judging_files(recipe)] == FOUND


def test_functions_are_those_of_rewards_and_graders(recipe: Recipe) -> None:
    assert judging_functions(recipe) == ["paid.py:score", "mine.py:grade", "length.py:score", "two.py:grade"]
    assert "graders.both.graders.two" in dict(all_graders(recipe))


def test_a_file_that_is_missing_is_named(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "two.py").unlink()
    with pytest.raises(RecipeError, match=r"two\.py"):
        judging_files(recipe)


def test_installed_libraries_are_the_locks(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "judges.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    reward = recipe.reward.model_copy(update={"kind": "custom", "function": "judges:score", "terms": []})
    found = judging_files(recipe.model_copy(update={"reward": reward}))
    assert tmp_path / "mine.py" in found
    assert tmp_path / "site-packages" / "judges.py" not in found
