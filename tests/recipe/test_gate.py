"""Rules that could not be applied are refused before anything runs, with the remedy."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import build_recipe, kind_of


def built(rules: dict[str, Any], **evaluation: Any) -> Any:
    return build_recipe({"name": "m", "gate": {"rules": rules}, "evaluation": evaluation}, "recipe")


@pytest.mark.parametrize("values", [{"name": "m"}, {"name": "m", "gate": {}}])
def test_a_recipe_without_rules_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="Without rules nothing can be promoted"):
        build_recipe(values, "recipe")


def test_the_default_gate_is_the_contracts() -> None:
    rules = built({}).gate.rules
    assert (rules.primary.measure, rules.primary.test, rules.primary.min_effect) == ("accuracy", "auto", 0)
    assert [(guard.measure, guard.max_ratio, guard.max) for guard in rules.guards] == [("length", 1.5, None), ("kl", None, 20)]
    assert (rules.error_mode, rules.when_spent, rules.approval) == ("fwer_epoch", "next_fold", "none")


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"primary": {"measure": "charm"}}, "unknown measure 'charm'; use one of accuracy"),
        ({"primary": {"measure": "length"}}, "is better; use a guard"),
        ({"primary": {"measure": "reward", "test": "mcnemar"}}, "use auto"),
        ({"primary": {"test": "mcnemar", "min_effect": 0.01}}, "use auto"),
        ({"primary": {"measure": "pass@4"}}, "raise evaluation.samples"),
        ({"primary": {"min_effect": 0.2}}, "raise target_effect"),
        ({"guards": [{"measure": "length"}]}, "exactly one of margin, max_ratio and max"),
        ({"guards": [{"measure": "length", "max": 1.0, "margin": 1.0}]}, "exactly one of"),
        ({"guards": [{"measure": "accuracy", "max": 0.5}]}, "use margin"),
        ({"guards": [{"measure": "kl_incumbent", "margin": 0.5}]}, "by max"),
        ({"guards": [{"measure": "length", "max": 9.0, "on": "school"}]}, "see evaluation.benchmarks"),
        ({"guards": [{"measure": "accuracy", "margin": 0.1, "slice": "hard"}]}, "add it there"),
        ({"error_mode": "hope"}, "error_mode"),
        ({"primary": {"measure": "macro_f1"}}, "where the gold is of type label"),
        ({"primary": {"measure": "macro_f1", "min_effect": 0.01}}, "min_effect 0"),
        ({"primary": {"measure": "mcc", "test": "sign_flip"}}, "use test: auto"),
        ({"primary": {"measure": "chrf"}}, "where the gold is of type text_similarity, metric chrf"),
        ({"primary": {"measure": "accuracy", "test": "randomization"}}, "is for macro_f1, mcc, balanced_accuracy, chrf"),
        ({"primary": {"all_of": ["accuracy"]}}, "gate.rules.primary.all_of: .* at least 2"),
        ({"primary": {"all_of": ["accuracy", "gold"]}}, "names accuracy twice"),
        ({"primary": {"all_of": ["accuracy", "tone"]}}, "'tone', which is neither a measure nor one of graders \\(none\\)"),
        ({"primary": {"all_of": ["accuracy", "reward"], "test": "auto"}}, "test stands beside it"),
        ({"primary": {"all_of": ["accuracy", {"measure": "length"}]}}, "gate.rules.primary.all_of.1: higher must be better"),
        ({"primary": {"all_of": ["accuracy", {"measure": "reward", "min_effect": 0.2}]}}, "raise target_effect"),
        ({"primary": {"grader": "tone", "measure": "gold"}}, "grader and measure are both given"),
        ({"max_kl": 20.0}, "unknown key"),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(rules: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        built(rules)


def test_mcnemar_takes_one_sample_an_item() -> None:
    with pytest.raises(RecipeError, match="use test: auto"):
        built({"primary": {"test": "mcnemar"}}, samples=4)
    assert built({"primary": {"test": "mcnemar", "measure": "maj@4"}}, samples=4).evaluation.samples == 4


@pytest.mark.parametrize(
    ("evaluation", "complaint"),
    [
        ({"slices": [{"name": "a"}]}, "either prompt"),
        ({"slices": [{"name": "a", "field": "level"}]}, "field and equals"),
        ({"slices": [{"name": "a", "prompt": "("}]}, "not a regular expression"),
        ({"slices": [{"name": "a", "prompt": "x"}] * 2}, "defined twice"),
        ({"benchmarks": {"sealed": "x.jsonl"}}, "choose another name"),
    ],
)
def test_evaluations_that_cannot_be_made_are_refused(evaluation: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        built({}, **evaluation)


def test_a_guard_on_a_slice_in_which_no_row_can_be_is_refused() -> None:
    hard = [{"name": "hard", "field": "level", "equals": 5}]
    rules = {"guards": [{"measure": "accuracy", "margin": 0.1, "slice": "hard"}]}
    with pytest.raises(RecipeError, match="do not keep"):
        built(rules, slices=hard)
    on_benchmark = {"guards": [{"measure": "accuracy", "margin": 0.1, "slice": "hard", "on": "school"}]}
    assert built(on_benchmark, slices=hard, benchmarks={"school": "school.jsonl"})


@pytest.mark.parametrize("name", ["pass@0", "pass@K", "reward/", "maj@", "pass@-1", "reward/a b"])
def test_names_that_are_no_measures(name: str) -> None:
    with pytest.raises(ValueError, match="unknown measure"):
        kind_of(name)


LABEL = {"type": "label", "labels": ["a", "b"]}
LENGTH = {"type": "length", "longest": 9}


def labelled(primary: dict[str, Any], guards: list[dict[str, Any]] | None = None, **label: Any) -> Any:
    values = {"graders": {"right": {**LABEL, **label}, "short": LENGTH}, "gold": {"grader": "right"}}
    return build_recipe({"name": "m", **values, "gate": {"rules": {"primary": primary, "guards": guards or []}}}, "recipe")


@pytest.mark.parametrize("measure", ["macro_f1", "mcc", "balanced_accuracy"])
def test_a_gold_of_labels_may_be_judged_by_a_measure_of_all_items(measure: str) -> None:
    assert labelled({"measure": measure}).gate.rules.measures == [measure]


def test_a_gold_of_chrf_may_be_judged_by_that_of_the_corpus_and_another_similarity_not() -> None:
    def built_with(metric: str) -> Any:
        values = {
            "graders": {"near": {"type": "text_similarity", "metric": metric}},
            "gold": {"grader": "near", "allow_similarity": True},
            "gate": {"rules": {"primary": {"measure": "chrf"}}},
        }
        return build_recipe({"name": "m", **values}, "recipe")

    assert built_with("chrf").gate.rules.primary.measure == "chrf"
    with pytest.raises(RecipeError, match="metric chrf; use another"):
        built_with("gleu")


def test_all_of_names_measures_and_graders_and_the_gold_by_any_of_its_names() -> None:
    def measures(*names: Any, **label: Any) -> list[str]:
        return labelled({"all_of": list(names)}, **label).gate.rules.measures

    assert measures("macro_f1", "short") == ["macro_f1", "grader/short"]
    assert measures("right", {"grader": "short", "min_effect": 0.01}) == ["accuracy", "grader/short"]
    assert measures("gold", "mcc", weights={"a": 1.0, "b": 2.0}) == ["gold", "mcc"]


def test_graders_of_every_rule_are_measured() -> None:
    made = labelled({"all_of": ["macro_f1", "short"]})
    assert list(made.guarding) == ["short"]
    made = labelled({"measure": "gold"}, [{"grader": "short", "margin": 0.1}])
    assert (list(made.guarding), made.gate.rules.measures) == (["short"], ["accuracy", "grader/short"])


def test_a_recipe_with_several_primaries_survives_being_written() -> None:
    made = labelled({"all_of": ["macro_f1", "short"]})
    assert build_recipe(made.model_dump(mode="json"), "recipe") == made
