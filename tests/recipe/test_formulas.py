"""A reward that is a formula over the recipe's graders."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Exact, Multi, Recipe, build_recipe
from ratchet.components.recipe.formulas import with_formula

GRADERS = {"right": {"type": "exact"}, "short": {"type": "length", "longest": 4}, "other": {"type": "number"}}


def recipe(**reward: Any) -> dict[str, Any]:
    return {"name": "r", "graders": GRADERS, "reward": reward}


def test_the_formula_becomes_the_verifier_with_the_graders_that_it_names() -> None:
    found = with_formula(recipe(formula="right - 0.1 * short", failures={"retries": 1}))
    graders = {"right": GRADERS["right"], "short": GRADERS["short"]}
    multi = {"type": "multi", "formula": "right - 0.1 * short", "graders": graders, "range": None}
    assert found == {**recipe(), "reward": {"failures": {"retries": 1}, "kind": "verifier", "verifier": multi}}


@pytest.mark.parametrize("values", [{}, None, {"reward": None}, recipe(kind="mix"), recipe(formula=None)])
def test_a_recipe_without_a_formula_stays_as_it_is(values: Any) -> None:
    assert with_formula(values) == values


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"formula": "right + fields"}, "names fields, and graders are right, short, other"),
        ({"formula": "1 + 1"}, "names no grader"),
        ({"formula": "right +"}, "is not a formula"),
        ({"formula": "right.real"}, "cannot stand in a formula"),
        ({"formula": "right", "kind": "mix"}, r"reward\.kind stands beside it"),
    ],
)
def test_formula_faults_are_refused_with_the_key(reward: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_formula(recipe(**reward))


def whole(**values: Any) -> Recipe:
    return build_recipe({"gate": {"rules": {"guards": []}}, **recipe(formula="right - 0.1 * short"), **values}, "recipe")


def test_a_recipe_is_paid_by_the_formula_and_judged_by_its_gold() -> None:
    built = whole(gold={"grader": "right"})
    assert isinstance(built.reward.verifier, Multi)
    assert built.reward.verifier.formula == "right - 0.1 * short"
    assert built.gold_settings == Exact(type="exact")
    assert Recipe.model_validate(built.model_dump()) == built


def test_formula_faults_a_formula_without_a_gold_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no verifier that could be gold(.|\n)*gold: \{grader: right\}"):
        whole()
