"""Whose warm-up a recipe means: the tiny policy's, an existing model's, or none."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Lora, ModelWarmup, Policy, Recipe, Warmup, build_recipe

TINY = {"layers": 1, "width": 32, "heads": 2, "vocabulary": 300, "context": 64}


def recipe(**policy: Any) -> Recipe:
    return build_recipe({"name": "r", "policy": policy, "gate": {"rules": {}}}, "r.yaml")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, Warmup()),
        ({"warmup": None}, Warmup()),
        ({"warmup": {"steps": 9}}, Warmup(steps=9)),
        ({"model": "m"}, None),
        ({"model": "m", "warmup": None}, None),
        ({"model": "m", "warmup": {**TINY, "steps": 9}}, None),  # of the tiny policy, which the model replaces
        ({"model": "m", "warmup": {}}, ModelWarmup()),
        ({"model": "m", "warmup": {"steps": 9, "batch": 2, "lr": 1e-4}}, ModelWarmup(steps=9, batch=2, lr=1e-4)),
        ({"model": "m", "warmup": {"steps": 9, "lora": {"rank": 2}}}, ModelWarmup(steps=9, lora=Lora(rank=2))),
    ],
)
def test_an_existing_model_is_fine_tuned_only_where_a_warm_up_is_written_for_it(policy: dict[str, Any], expected: Any) -> None:
    found = recipe(**policy).policy
    assert found.warmup == expected
    assert found.tuning == (expected if isinstance(expected, ModelWarmup) else None)
    assert Policy.model_validate(found.model_dump(mode="json")) == found  # a rebuild is given the whole recipe


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"warmup": {"max_tokens": 9}}, "policy: policy.warmup fine-tunes a model by the keys lora, .*set policy.model"),
        ({"model": "m", "warmup": {"layers": 2, "lora": {}}}, "policy.warmup.layers: unknown key"),
        ({"model": "m", "warmup": {"steps": 9, "context": 64}}, "policy: policy.warmup has context .*remove them to fine-tune"),
        ({"model": "m", "warmup": {"lora": {"rank": 0}}}, "policy.warmup.lora.rank: .*greater than or equal to 1"),
        ({"model": "m", "warmup": {"until": 0.6}}, "policy: policy.warmup has until of the tiny policy"),
        ({"warmup": {"until": 1}}, "policy.warmup.until: .*less than 1"),
        ({"model": "m", "warmup": {"steps": 0}}, "policy.warmup.steps: .*greater than or equal to 1"),
        ({"warmup": {"vocabulary": 3}}, "policy.warmup.vocabulary: .*greater than or equal to 300"),
    ],
)
def test_a_warm_up_of_the_wrong_policy_is_refused_with_its_key(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        recipe(**policy)
    assert len(str(refused.value).splitlines()) == 2  # the file, and one line


def test_a_warm_up_of_fixed_steps_is_written_as_before_there_was_another() -> None:
    """Digests of recipes, and keys of stages, are made from this."""
    assert "until" not in recipe().model_dump(mode="json")["policy"]["warmup"]
    assert Warmup().model_dump(exclude_defaults=True) == {} and Warmup().model_dump(include={"steps"}) == {"steps": 700}
    assert recipe(warmup={"until": 0.6}).model_dump(mode="json")["policy"]["warmup"]["until"] == 0.6
