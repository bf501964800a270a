"""What is gold is said by the recipe, or follows from its reward; where neither does, the recipe is refused."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Choice, Numbers, Pattern, Recipe, build_recipe

CHOICE = {"type": "choice", "options": ["yes", "no"]}
LONG = {"type": "length", "longest": 50}
TEXTS = {"name": "s", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}


def recipe(**values: Any) -> Recipe:
    return build_recipe({"name": "r", "gate": {"rules": {"guards": []}}, **values}, "recipe")


def faults(**values: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe(**values)
    return str(caught.value)


def term(name: str, **verifier: Any) -> dict[str, Any]:
    return {"name": name, "weight": 1.0, "verifier": verifier}


@pytest.mark.parametrize("kind", ["verifier", "mix"])
def test_the_rewards_verifier_is_gold_and_numbers_count_in_their_strict_form(kind: str) -> None:
    assert recipe(reward={"kind": kind}).gold_settings == Numbers(form="strict")
    assert recipe(reward={"kind": kind, "verifier": CHOICE}).gold_settings == Choice.model_validate(CHOICE)


def test_of_a_sums_verifiers_the_only_one_or_that_of_numbers_is_gold() -> None:
    tags = {"type": "regex", "pattern": "<a>"}
    assert recipe(reward={"kind": "sum", "terms": [term("t", **tags)]}).gold_settings == Pattern.model_validate(tags)
    both = {"kind": "sum", "terms": [term("t", **tags), term("n", type="number", form="lenient")]}
    assert recipe(reward=both).gold_settings == Numbers(form="strict")


@pytest.mark.parametrize(
    "reward",
    [
        {"kind": "custom", "function": "m:f"},
        {"kind": "model"},
        {"kind": "sum", "terms": [{"name": "t", "weight": 1.0, "of": "model"}]},
        {"kind": "sum", "terms": [term("t", **CHOICE), term("u", type="exact")]},
    ],
)
def test_faults_of_a_reward_without_a_verifier_name_the_key_and_the_remedy(reward: dict[str, Any]) -> None:
    assert "no verifier that could be gold" in faults(reward=reward)
    assert "gold: {grader: right}" in faults(reward=reward)
    assert recipe(reward=reward, graders={"right": CHOICE}, gold={"grader": "right"}).gold_settings.type == "choice"


def test_the_gold_is_the_reward_where_none_is_described() -> None:
    made = recipe(graders={"right": CHOICE}, gold={"grader": "right"}, reward={"failures": {"retries": 0}})
    assert (made.reward.kind, made.reward.verifier, made.reward.failures.retries) == ("verifier", made.gold_settings, 0)
    assert recipe(graders={"right": CHOICE}, gold={"grader": "right"}, reward={"kind": "mix"}).reward.verifier == Numbers()


def test_an_unknown_grader_is_refused_with_those_that_exist() -> None:
    assert "gold.grader is 'left', which is not one of graders; they are right" in faults(
        graders={"right": CHOICE}, gold={"grader": "left"}
    )
    assert "graders.right.options" in faults(graders={"right": {"type": "choice", "options": ["a"]}})


def primary(measure: str | None, grader: dict[str, Any]) -> str:
    rules = {"guards": [], **({} if measure is None else {"primary": {"measure": measure}})}
    made = recipe(graders={"g": grader}, gold={"grader": "g"}, gate={"rules": rules})
    return made.gate.rules.primary.measure


@pytest.mark.parametrize("measure", [None, "gold", "accuracy"])
def test_a_gold_that_says_right_or_wrong_is_judged_as_accuracy(measure: str | None) -> None:
    assert primary(measure, CHOICE) == "accuracy"


@pytest.mark.parametrize("measure", [None, "gold"])
def test_a_bounded_gold_is_judged_by_its_mean_score(measure: str | None) -> None:
    assert primary(measure, LONG) == "gold"
    assert primary(measure, {"type": "json_match"}) == "gold"


def test_accuracy_needs_a_gold_that_passes() -> None:
    assert primary("accuracy", {"type": "json_match"}) == "accuracy"
    with pytest.raises(RecipeError, match="needs a gold that says right or wrong; use gold"):
        primary("accuracy", LONG)


@pytest.mark.parametrize(
    ("guard", "complaint"),
    [
        ({"measure": "grader/short", "margin": 0.1}, "name 'short', which is neither a measure nor one of graders (g)"),
        ({"measure": "format_rate", "margin": 0.1}, "exists where the gold is a number in its strict form"),
    ],
)
def test_a_guard_on_a_measure_that_nothing_gives_is_refused(guard: dict[str, Any], complaint: str) -> None:
    assert complaint in faults(graders={"g": CHOICE}, gold={"grader": "g"}, gate={"rules": {"guards": [guard]}})


def test_the_graders_of_guards_are_measured() -> None:
    guard = {"measure": "grader/short", "margin": 0.1}
    made = recipe(graders={"g": CHOICE, "short": LONG, "idle": LONG}, gold={"grader": "g"}, gate={"rules": {"guards": [guard]}})
    assert list(made.guarding) == ["short"]
    assert Recipe.model_validate(made.model_dump()) == made


def test_mcnemar_does_not_go_with_groups() -> None:
    rules = {"guards": [], "primary": {"test": "mcnemar"}}
    source = {"kind": "jsonl", "path": "rows.jsonl"}
    assert "data.group ties some together" in faults(data={"source": source, "group": "doc"}, gate={"rules": rules})


def test_whether_the_reward_is_the_gold_itself() -> None:
    assert recipe(graders={"right": CHOICE}, gold={"grader": "right"}).paid_by_gold
    assert not recipe(reward={"kind": "verifier"}).paid_by_gold  # lenient, and the gold is strict
    assert recipe(reward={"kind": "verifier", "verifier": {"form": "strict"}}).paid_by_gold
    assert not recipe(reward={"kind": "mix", "verifier": {"form": "strict"}}).paid_by_gold


SIMILAR = {"type": "text_similarity", "metric": "chrf"}


@pytest.mark.parametrize(
    "grader",
    [
        SIMILAR,
        {"type": "multi", "graders": {"a": SIMILAR, "b": SIMILAR}, "formula": "(a + b) / 2"},
        {"openai": {**TEXTS, "type": "text_similarity", "evaluation_metric": "gleu"}},
    ],
)
def test_similarity_as_gold_must_be_accepted(grader: dict[str, Any]) -> None:
    assert "gold.allow_similarity: true" in faults(graders={"right": grader}, gold={"grader": "right"})
    assert recipe(graders={"right": grader}, gold={"grader": "right", "allow_similarity": True}).gold.allow_similarity


def test_similarity_may_be_a_part_of_the_gold_and_guards_as_it_is() -> None:
    mixed = {"type": "multi", "graders": {"a": SIMILAR, "b": CHOICE}, "formula": "a * b"}
    guarded = {"rules": {"guards": [{"grader": "near", "margin": 0.1}]}}
    made = recipe(graders={"right": mixed, "near": SIMILAR}, gold={"grader": "right"}, gate=guarded)
    assert list(made.guarding) == ["near"]


def test_similarity_as_the_only_verifier_is_gold_and_must_be_accepted() -> None:
    reward = {"kind": "verifier", "verifier": SIMILAR}
    assert "gold.allow_similarity: true" in faults(reward=reward)
    assert recipe(reward=reward, gold={"allow_similarity": True}).paid_by_gold


def test_consent_is_no_part_of_the_digest() -> None:
    assert recipe(gold={"allow_similarity": True}).digest == recipe().digest


@pytest.mark.parametrize(
    ("gold", "rules"),
    [
        ("all", {}),
        ("right", {"primary": {"grader": "all"}}),
        ("right", {"primary": {"all_of": ["accuracy", "all"]}}),
        ("right", {"guards": [{"grader": "all", "margin": 0.1}]}),
    ],
)
def test_faults_of_a_judge_without_limits_name_it_and_the_remedy(gold: str, rules: dict[str, Any]) -> None:
    graders = {"right": CHOICE, "all": {"type": "multi", "formula": "9 * r", "graders": {"r": CHOICE}, "range": None}}
    said = faults(graders=graders, gold={"grader": gold}, gate={"rules": rules})
    assert "graders.all judges" in said
    assert "give graders.all.range the formula's lowest and highest value" in said
    limited = {**graders, "all": {**graders["all"], "range": [0.0, 9.0]}}
    assert recipe(graders=limited, gold={"grader": gold}, gate={"rules": rules})
    assert recipe(graders=graders, gold={"grader": "right"}, reward={"formula": "2 * all"})
