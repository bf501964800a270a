"""``weights: balanced`` of a gold of labels."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Recipe, build_recipe

LABEL = {"type": "label", "labels": ["a", "b"]}


def recipe(rules: dict[str, Any], grader: dict[str, Any] | None = None, **others: Any) -> Recipe:
    given = {"right": {**LABEL, "weights": "balanced"} if grader is None else grader, "short": {"type": "length", "longest": 9}}
    return build_recipe({"name": "r", "graders": given, "gold": {"grader": "right"}, "gate": {"rules": rules}, **others}, "r")


@pytest.mark.parametrize(
    "primary", [{}, {"measure": "gold"}, {"grader": "right"}, {"measure": "grader/right"}, {"measure": "balanced_accuracy"}]
)
def test_the_gate_judges_by_balanced_accuracy_and_the_score_stays_binary(primary: dict[str, Any]) -> None:
    found = recipe({"primary": primary})
    assert found == recipe({"primary": {"measure": "balanced_accuracy"}}, LABEL)
    assert found.gold_settings.scores == "binary"
    assert found.paid_by_gold
    assert Recipe.model_validate(found.model_dump(mode="json")) == found


def test_without_a_primary_it_is_the_primary() -> None:
    assert [one.measure for one in recipe({}).gate.rules.primaries] == ["balanced_accuracy"]


def test_it_stands_for_the_gold_among_several() -> None:
    found = recipe({"primary": {"all_of": ["gold", {"grader": "short"}]}})
    assert [one.measure for one in found.gate.rules.primaries] == ["balanced_accuracy", "grader/short"]


@pytest.mark.parametrize("primary", [{"measure": "macro_f1"}, {"grader": "short"}, {"all_of": ["macro_f1", "short"]}])
def test_another_primary_contradicts_it(primary: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"graders\.right\.weights: balanced .* gate\.rules\.primary names another measure"):
        recipe({"primary": primary})


def test_weights_that_are_written_out_leave_the_primary_alone() -> None:
    found = recipe({"primary": {"measure": "gold"}}, {**LABEL, "weights": {"a": 1.0, "b": 3.0}})
    assert [one.measure for one in found.gate.rules.primaries] == ["gold"]


def test_of_a_grader_that_is_not_gold_balanced_weights_are_refused() -> None:
    graders = {"right": LABEL, "other": {**LABEL, "weights": "balanced"}}
    with pytest.raises(RecipeError, match=r"graders\.other\.weights: balanced is for the grader that gold\.grader names"):
        recipe({}, graders=graders)


@pytest.mark.parametrize("others", [{"gold": {"grader": ["right"]}}, {"gold": {"grader": {"right": 1}}}])
def test_a_gold_that_is_no_name_is_refused_by_its_key(others: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"gold\.grader: Input should be a valid string"):
        recipe({}, LABEL, **others)


def test_a_measure_that_is_no_name_is_another_measure() -> None:
    with pytest.raises(RecipeError, match=r"names another measure"):
        recipe({"primary": {"measure": ["gold"]}})


def test_a_recipe_without_rules_is_refused_for_that() -> None:
    with pytest.raises(RecipeError, match=r"gate: Field required.*see docs/gates\.md"):
        build_recipe({"name": "r", "graders": {"right": {**LABEL, "weights": "balanced"}}, "gold": {"grader": "right"}}, "r")
