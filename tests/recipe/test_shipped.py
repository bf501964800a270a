"""The recipes for real models: they load (test_loading.py), fit the GPU that their table names, and tune nothing unasked."""

import re
from pathlib import Path

import numpy as np
import pytest

from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import JsonLines, load_recipe, parts
from ratchet.components.rewards.checks.on_pairs import ScoredPairs
from ratchet.components.rewards.checks.validation import Subject, checks_on_pairs
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


def no_grades(prompts: object, completions: object, rows: object) -> list[Grade]:
    return []


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_without_preferences_the_checks_that_need_them_are_waived(path: Path) -> None:
    recipe = load_recipe(path)
    wanted, nothing = recipe.reward.validation, ScoredPairs([], np.zeros(0), np.zeros(0), 0.9)
    checks = checks_on_pairs(Subject("verifier", no_grades, no_grades), nothing, wanted)
    failed = {check.name for check in checks if check.passed is False}
    assert failed == {"pair_accuracy", "length_baseline", "padding_invariance", "text_invariance", "format_perturbation"}
    assert set(wanted.waive) == (set() if recipe.data.split.pairs else failed)
