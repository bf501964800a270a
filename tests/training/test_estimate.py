"""Memory before training: from the recipe alone."""

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import load_recipe
from ratchet.components.training.estimate import GIB, Place, plan_ahead
from tests.places import RECIPES

GSM8K = RECIPES / "gsm8k_grpo.yaml"


def test_a_smaller_gpu_gets_a_choice_that_fits_it() -> None:
    plans = {size: plan_ahead(load_recipe(GSM8K), Place("cuda", size * GIB)) for size in (80, 18, 4)}
    assert [plans[size].fits for size in (80, 18, 4)] == [True, True, False]
    assert plans[80].estimate.peak > plans[18].estimate.peak
    assert not plans[80].train.gradient_checkpointing
    assert plans[18].train.gradient_checkpointing
    weights = next(part for part in plans[80].estimate.parts if part.name == "weights")
    assert weights.bytes == 4 * 494_032_768


def test_the_sum_of_what_is_held_and_the_largest_phase_is_the_estimate() -> None:
    told = plan_ahead(load_recipe(GSM8K), Place("cuda", 80 * GIB)).as_json()
    by_phase: dict[str, float] = {}
    for part in told["parts"]:
        by_phase[part["phase"]] = by_phase.get(part["phase"], 0.0) + part["gib"]
    assert told["estimate_gib"] == pytest.approx(by_phase.pop("held") + max(by_phase.values()))


@pytest.mark.parametrize(
    ("place", "overrides", "phase"),
    [
        ("cuda", ["train.kl=loss"], "held"),
        ("cuda", ["train.kl=none"], "dev"),  # for the sentinel's limit
        ("cpu", ["train.kl=none"], "held"),  # there is no other place
        ("cuda", ["train.kl=none", "train.sentinel.kl=null"], None),
        ("cuda", ["train.kl=loss", "train.lora={rank: 8}"], None),  # the adapter is switched off
    ],
)
def test_the_reference_is_there_when_something_needs_it(place: str, overrides: list[str], phase: str | None) -> None:
    parts = plan_ahead(load_recipe(GSM8K, overrides), Place(place, 80 * GIB)).estimate.parts
    assert [part.phase for part in parts if part.name == "reference"] == ([phase] if phase else [])


def test_the_quickstart_needs_no_model() -> None:
    plan = plan_ahead(load_recipe(RECIPES / "quickstart.yaml"), Place("cpu", 4 * GIB), prompt_tokens=40)
    assert plan.fits
    assert plan.prompt_tokens == 40
    assert plan.choice == (16_384, False, False)


def test_a_group_size_that_is_still_to_be_advised_is_said() -> None:
    with pytest.raises(RecipeError, match=r"--set train\.k=8"):
        plan_ahead(load_recipe(GSM8K, ["train.k=auto"]), Place("cpu", GIB))
