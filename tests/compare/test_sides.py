"""What may be compared: names, files and versions; budgets; and what both sides must share."""

from pathlib import Path

import pytest

from ratchet.components.compare.sides import Budget, are_versions, budget_of, require_same_task, side_of
from ratchet.components.errors import RecipeError
from ratchet.components.recipe import load_recipe
from tests.places import MICRO

HERE = MICRO.parent


def test_an_algorithm_is_the_recipe_with_it_and_its_own_overrides_come_last() -> None:
    side = side_of("ppo@train.k=8@train.lr=1e-4", MICRO, ["train.k=6", "seed=9"], HERE)
    recipe = side.recipe()
    assert (recipe.train.algorithm, recipe.train.k, recipe.train.lr, recipe.seed) == ("ppo", 8, 1e-4, 9)


def test_a_recipe_file_is_relative_to_where_the_command_was_given() -> None:
    side = side_of("classify.yaml@train.steps=3", MICRO, [], HERE)
    assert side.recipe().name == load_recipe(HERE / "classify.yaml").name != "micro"
    assert side.recipe().train.steps == 3


def test_overrides_alone_are_of_the_recipe() -> None:
    assert side_of("@train.k=6", MICRO, [], HERE).recipe().train.k == 6


def test_an_override_may_name_a_function_of_a_file() -> None:
    side = side_of("grpo@graders.right.file=rewards.py@grade@train.k=6", MICRO, [], HERE)
    assert side.overrides == ("train.algorithm=grpo", "graders.right.file=rewards.py@grade", "train.k=6")


def test_a_file_whose_name_has_an_at_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a@b.yaml").write_text(MICRO.read_text())
    assert side_of("a@b.yaml", MICRO, [], tmp_path).file == tmp_path / "a@b.yaml"


@pytest.mark.parametrize("text", ["sarsa", "missing.yaml", "", "sarsa@train.k=4"])
def test_what_is_none_of_these_is_refused_with_the_ways(text: str) -> None:
    with pytest.raises(RecipeError, match=r"Give an algorithm"):
        side_of(text, MICRO, [], HERE).recipe()


def test_limits_of_a_recipe_do_not_end_a_comparison() -> None:
    assert side_of("grpo", MICRO, ["limits.samples=1"], HERE).recipe().limits.samples is None


def test_versions_compare_with_versions() -> None:
    assert are_versions(("2", "champion"))
    assert not are_versions(("grpo", "ppo"))
    with pytest.raises(RecipeError, match="compares with another one"):
        are_versions(("2", "ppo"))


def test_the_default_budget_is_what_the_smaller_side_draws() -> None:
    small, large = load_recipe(MICRO, ["train.steps=10"]), load_recipe(MICRO, ["train.k=8"])
    budget = budget_of(None, [(small, 16 * 4), (large, 16 * 8)])
    assert budget == Budget(samples=640)
    assert (budget.steps_of(small, 64), budget.steps_of(large, 128)) == (10, 5)


def test_a_budget_of_steps_is_the_same_for_both() -> None:
    recipe = load_recipe(MICRO)
    assert budget_of("steps=7", []).steps_of(recipe, 64) == 7
    assert budget_of("samples=130", []).steps_of(recipe, 64) == 2


@pytest.mark.parametrize("text", ["10", "steps=0", "steps=-1", "seconds=9", "samples=1e3", "steps="])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--budget samples="):
        budget_of(text, [])


def test_less_than_a_step_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"less than a step of grpo draws \(64"):
        Budget(samples=63).steps_of(load_recipe(MICRO), 64)


def test_sides_with_different_items_or_gold_do_not_compare() -> None:
    one = load_recipe(MICRO)
    require_same_task(one, load_recipe(MICRO, ["train.lr=1e-5", "policy.max_new_tokens=8", "reward.kind=verifier"]))
    with pytest.raises(RecipeError, match="differ in data and the gold"):
        require_same_task(
            one, load_recipe(MICRO, ["data.seed=2", "graders.right.form=lenient", "graders.right.last_number=true"])
        )
