"""The recipes for real models: they load (test_loading.py), fit the GPU that their table names, and tune nothing unasked."""

import re
from pathlib import Path

import pytest

from ratchet.components.recipe import JsonLines, load_recipe, parts
from ratchet.components.training.estimate import GIB, Place, plan_ahead
from tests.places import RECIPES

TABLE = (RECIPES / "README.md").read_text(encoding="utf-8")
REAL = [path for path in sorted(RECIPES.glob("*.yaml")) if load_recipe(path).policy.model is not None]


def row_of(path: Path) -> str:
    (row,) = [line for line in TABLE.splitlines() if line.startswith(f"| [{path.name}]({path.name})")]
    return row


def test_every_recipe_has_a_row_in_the_table_and_every_task_a_recipe() -> None:
    for path in RECIPES.glob("*.yaml"):
        assert row_of(path)
    assert {path.stem.partition("_")[0] for path in REAL} == {"gsm8k", "classify", "extract", "sql"}


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_step_fits_the_gpu_of_the_table_by_its_estimate(path: Path) -> None:
    memory = re.search(r"one GPU of (\d+) GB", row_of(path))
    assert memory is not None
    assert plan_ahead(load_recipe(path), Place("cuda", int(memory[1]) * GIB)).fits


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_its_model_and_rows_are_those_of_the_table_and_it_is_not_fine_tuned(path: Path) -> None:
    recipe, row = load_recipe(path), row_of(path)
    assert recipe.policy.model is not None and recipe.policy.model.removeprefix("Qwen/") in row
    assert recipe.policy.tuning is None
    for part in parts(recipe.data.source):
        assert isinstance(part.source, JsonLines)
        assert Path(part.source.path).parts[0] != "data"  # which `ratchet data prepare` writes
        assert part.source.path in row or "the same" in row
