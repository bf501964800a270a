"""A step's cost over sizes: which steps count, what a case sets, and one case from the recipe to its figures."""

import time
from pathlib import Path

import pytest

from benchmarks.report import markdown
from benchmarks.scaling import (
    COLUMNS,
    RANKED,
    RECIPE,
    SWEEPS,
    Case,
    Clock,
    _line,
    _ranked_line,
    figures,
    ranked_rows,
    step_figures,
)
from ratchet.components.recipe import load_recipe


def test_medians_are_of_the_steps_after_the_first() -> None:
    points = [{"num_tokens": tokens, "step_time": seconds} for tokens, seconds in ((1, 9.0), (10, 4.0), (20, 8.0), (30, 7.0))]
    cpu = {1: {"step": 99.0}, **{step: {"step": step * 1.0, "rollout": 0.5 * step, "update": 0.1} for step in (2, 3, 4)}}
    assert figures(points, cpu) == {"step": 3.0, "rollout": 1.5, "update": 0.1, "tokens": 20, "fastest": 4.0}


def test_a_clock_tells_steps_and_phases_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 10.0, 10.5, 11.5, 20.0, 25.0])
    monkeypatch.setattr(time, "process_time", lambda: next(ticks))
    clock = Clock()
    with clock.phase("rollout"):
        pass
    clock.progress("train", 1, 2, "")
    with clock.phase("update"):
        pass
    clock.progress("train", 2, 2, "")
    clock.progress("train", 2, 2, "dev evaluation")
    assert clock.steps == {1: {"step": 10.0, "rollout": 2.0}, 2: {"step": 10.0, "update": 1.0}}


def test_a_case_is_the_recipe_with_other_sizes() -> None:
    recipe = load_recipe(RECIPE, Case(4, 256, 16, 64).settings)
    assert (recipe.policy.tiny.layers, recipe.policy.tiny.width) == (4, 256)
    assert (recipe.train.k, recipe.policy.max_new_tokens) == (16, 64)


def test_each_sweep_has_the_recipes_own_case() -> None:
    assert all(Case() in cases for cases in SWEEPS.values())


def test_a_row_has_a_cell_for_each_column() -> None:
    row = {**vars(Case()), "parameters": 480_000, "step": 0.5, "tokens": 2000, "rollout": 0.2, "update": 0.25, "fastest": 0.6}
    assert markdown({"device": "X"}, COLUMNS, [_line(row)]).endswith(
        "| 2 x 128 | 0.48 M | 8 | 32 | 2,000 | 0.500 | 0.200 | 0.250 | 4,000 | 0.600 |"
    )
    assert _line(row).count("|") == len(COLUMNS) + 1


@pytest.mark.slow
def test_a_case_is_trained_on_ranks() -> None:
    one, two = ranked_rows(Case(1, 128, 2, 8), [1, 2])
    assert (one["ranks"], one["speedup"], one["exchange"]) == (1, 1.0, 0.0)
    assert (two["ranks"], two["exchange"] > 0) == (2, True)
    assert _ranked_line(two).count("|") == len(RANKED) + 1


@pytest.mark.slow
def test_a_case_is_trained(tmp_path: Path) -> None:
    settings = [*Case(1, 32, 2, 8).settings, "policy.warmup.heads=2", "train.steps=3", "train.prompts=2"]
    found = step_figures(settings, tmp_path)
    assert 0 < found["rollout"] < found["step"]
    assert 0 < found["tokens"] <= 2 * 2 * 8
