"""A rank's memory: one process's with its prompts, or its share of the state and what is gathered besides."""

import pytest

from ratchet.components.policy.configuration import ModelShape, shape_of, stated_configuration
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.training.estimate import Place, memory_plan
from ratchet.components.training.memory import GIB, Estimate, Part
from ratchet.components.training.price import SIZES
from ratchet.components.training.scaling.rank_memory import dealt, rank_memory, without_sampler
from tests.places import RECIPES

SHAPE = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=2000, head_parameters=0)
LARGEST = shape_of(stated_configuration(SIZES["Qwen2.5-7B"], "7B"))
H100 = Place("cuda", 79 * GIB)


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "gsm8k_grpo.yaml", overrides)


@pytest.mark.parametrize("overrides", [[], ["train.algorithm=ppo"], ["train.lora={rank: 8}"], ["train.precision=fp32"]])
def test_one_rank_is_todays_estimate(overrides: list[str]) -> None:
    found = rank_memory(recipe(*overrides), SHAPE, 128, H100, 1)
    assert (found.mode, found.plan) == ("replicated", memory_plan(recipe(*overrides), SHAPE, 128, H100))


def test_a_replicated_rank_is_a_process_with_its_prompts() -> None:
    found = rank_memory(recipe("train.prompts=30"), SHAPE, 128, H100, 4)
    assert found.mode == "replicated"
    assert found.plan == memory_plan(recipe("train.prompts=8"), SHAPE, 128, H100)


@pytest.mark.parametrize(
    ("prompts", "minibatches", "workers", "most"), [(32, 1, 8, 4), (30, 1, 8, 4), (32, 4, 8, 4), (32, 4, 16, 4)]
)
def test_each_minibatch_is_dealt_by_whole_prompts(prompts: int, minibatches: int, workers: int, most: int) -> None:
    """A minibatch of 8 prompts is one prompt for each of eight ranks, and also for each of sixteen that has any."""
    given_ = recipe(f"train.prompts={prompts}", f"train.minibatches={minibatches}")
    assert dealt(given_, workers).train.prompts == most


def test_ranks_are_as_the_recipe_says() -> None:
    launch = "launch.kind=torchrun", "launch.workers=4"
    shared, whole = (recipe(*launch, f"launch.weights={mode}") for mode in ("sharded", "replicated"))
    assert rank_memory(shared, SHAPE, 128, H100, 4).mode == "sharded"
    found = rank_memory(whole, LARGEST, 128, H100, 4)
    assert (found.mode, found.plan.fits) == ("replicated", False)


def test_moments_in_8_bits_are_never_divided() -> None:
    found = rank_memory(recipe("train.optimizer=adamw_8bit"), LARGEST, 128, H100, 8)
    assert (found.mode, found.plan.fits) == ("replicated", False)


def told(workers: int, gib: int = 79) -> tuple[str, bool, str]:
    found = rank_memory(recipe("train.prompts=64"), LARGEST, 128, Place("cuda", gib * GIB), workers)
    return found.mode, found.plan.fits, found.why


def test_one_rank_has_nobody_to_share_with() -> None:
    assert told(1)[:2] == ("replicated", False)


def test_what_does_not_fit_whole_is_sharded() -> None:
    mode, fits, why = told(8)
    assert (mode, fits) == ("sharded", True)
    assert "GiB on each rank, and 67.1 GiB may be used; sharded it takes" in why


def test_too_few_ranks_are_told_how_many_it_takes() -> None:
    mode, fits, why = told(2)
    assert (mode, fits) == ("sharded", False)
    assert why.endswith("which needs 4 ranks to fit")
    assert told(4)[1]


def test_what_no_number_of_ranks_holds_is_said() -> None:
    assert told(8, gib=16)[2].endswith("which fits on no number of ranks up to 1024")


def test_a_rank_that_draws_nothing_needs_no_slots() -> None:
    held, drawing = Part("weights", 8000, "held"), Part("key-value slots", 500, "held")
    assert (
        without_sampler(Estimate([held, drawing, Part("gathered weights", 90, "rollout"), Part("head", 7, "update")])) == 8007
    )
