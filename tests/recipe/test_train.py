"""Combinations of choices that cannot work are refused with the reason."""

from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Train, load_recipe
from tests.places import RECIPES


def reason(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Train(**values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"k": 1}, "nothing to compare"),
        ({"algorithm": "rloo", "k": 1}, "nothing to compare"),
        ({"prompts": 10, "minibatches": 3}, "not divisible"),
        ({"algorithm": "ppo", "loss": {"ratio": "sequence"}}, "differs from token to token"),
        ({"algorithm": "reinforce_pp", "loss": {"ratio": "completion"}}, "differs from token to token"),
        ({"algorithm": "ppo", "sampling": {"refills": 1}}, "would discard them"),
        ({"kl": "none", "kl_target": 1.0}, "disables"),
        ({"kl": "loss", "kl_coefficient": 0, "kl_target": 1.0}, "cannot adapt"),
        ({"algorithm": "grpo", "value_lambda": 1.0}, "for a critic"),
        ({"algorithm": "ppo", "critic": {"trunk": "shared", "sees": "likelihood"}}, "a separate critic"),
        ({"algorithm": "ppo", "critic": {"trunk": "shared", "minibatches": 4}}, "in the policy's minibatches"),
        ({"algorithm": "ppo", "prompts": 30, "critic": {"minibatches": 4}}, "not divisible by train.critic.minibatches"),
        ({"algorithm": "gspo", "loss": {"surrogate": "cispo"}}, "single tokens"),
        ({"algorithm": "cispo", "loss": {"dual_clip": 9.0}}, "no second clip"),
        ({"loss": {"dual_clip": 1.1}}, "above 1"),
    ],
)
def test_an_impossible_combination_is_refused_with_the_reason(values: dict[str, Any], words: str) -> None:
    assert words in reason(**values)


@pytest.mark.parametrize("values", [{"algorithm": "ppo", "k": 1}, {"algorithm": "reinforce_pp", "k": 1}])
def test_algorithms_without_groups_need_one_sample(values: dict[str, Any]) -> None:
    assert Train(**values).group_size == 1


@pytest.mark.parametrize("values", [{"k": True}, {"lr": True}, {"whiten": 1}, {"steps": 2.0}, {"lr": "0.1"}])
def test_one_type_is_not_taken_for_another(values: dict[str, Any]) -> None:
    assert "Input should be a valid" in reason(**values)


def test_only_gae_has_a_critic() -> None:
    assert [Train(algorithm=a).has_critic for a in ("ppo", "grpo", "rloo")] == [True, False, False]


def test_adamw_is_in_no_digest_and_another_optimiser_is() -> None:
    plain, small = (load_recipe(RECIPES / "gsm8k_grpo.yaml", [f"train.optimizer={name}"]) for name in ("adamw", "adamw_8bit"))
    assert "optimizer" not in plain.train.model_dump()
    assert small.train.model_dump()["optimizer"] == "adamw_8bit"
    assert Train.model_validate(small.train.model_dump()) == small.train
    assert plain.digest == load_recipe(RECIPES / "gsm8k_grpo.yaml").digest != small.digest


def test_moments_in_8_bits_are_not_for_weights_in_shards() -> None:
    launch = ["launch.kind=torchrun", "launch.workers=2", "train.optimizer=adamw_8bit"]
    assert load_recipe(RECIPES / "gsm8k_grpo.yaml", launch).launch.weights == "auto"
    with pytest.raises(RecipeError, match=r"use train\.optimizer=adamw, or launch\.weights=replicated"):
        load_recipe(RECIPES / "gsm8k_grpo.yaml", [*launch, "launch.weights=sharded"])
