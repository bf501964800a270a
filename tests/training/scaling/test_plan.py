"""The plan: properties over numbers of ranks, limits, and where to draw."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.policy.configuration import shape_of, stated_configuration
from ratchet.components.recipe import load_recipe
from ratchet.components.training.price import SIZES
from ratchet.components.training.scaling.cluster import GPUS
from ratchet.components.training.scaling.plan import (
    ScalingPlan,
    Subject,
    engine_advice,
    limits_of,
    scaling_plan,
    subject_of,
)
from tests.places import RECIPES

GSM8K = RECIPES / "gsm8k_grpo.yaml"
H100 = GPUS["h100"]
powers = st.integers(0, 7).map(lambda power: 2**power)


@cache
def subject(size: str = "0.5B", *overrides: str) -> Subject:
    shape = shape_of(stated_configuration(SIZES[f"Qwen2.5-{size}"], size))
    settings = ["train.prompts=128", "train.kl=none", *overrides]
    return Subject(load_recipe(GSM8K, settings), shape, 128, H100, H100.memory)


def computing(plan: ScalingPlan) -> float:
    seconds = plan.seconds
    return seconds.rollout + seconds.scoring + seconds.update


@given(powers, powers)
def test_more_ranks_compute_less_each(few: int, more: int) -> None:
    few, more = sorted((few, more))
    choices = [scaling_plan(subject("1.5B"), workers) for workers in (few, more)]
    assert computing(choices[1]) <= computing(choices[0])


@given(st.integers(1, 200), st.sampled_from(["0.5B", "7B"]))
def test_no_number_of_ranks_does_better_than_its_share(workers: int, size: str) -> None:
    plan = scaling_plan(subject(size), workers)
    assert 0 < plan.efficiency <= 1 + 1e-9
    assert 0 < plan.rollout_share < 1
    assert plan.work.train.prompts * workers >= 128


def test_one_rank_is_as_efficient_as_one_rank() -> None:
    alone = scaling_plan(subject(), 1)
    assert alone.efficiency == 1
    assert sum(alone.traffic.as_json().values()) == 0
    assert alone.seconds.communication == 0


def test_a_step_is_its_phases() -> None:
    seconds = scaling_plan(subject(), 8).seconds
    assert seconds.step == pytest.approx(sum(vars(seconds).values()))


def test_limits_are_those_of_the_plans() -> None:
    limits = limits_of(subject())
    assert limits.full_slots == 2  # 1,024 rows
    assert scaling_plan(subject(), limits.useful).efficiency >= 0.5 > scaling_plan(subject(), 2 * limits.useful).efficiency
    assert limits.rollouts_from is not None
    assert scaling_plan(subject(), limits.rollouts_from).rollout_share > 0.5


def test_a_rank_has_a_prompt_of_every_minibatch() -> None:
    assert limits_of(subject("0.5B", "train.minibatches=128")).useful == 1


def test_ranks_are_of_use_if_fewer_have_no_room() -> None:
    found = limits_of(subject("7B"))
    assert scaling_plan(subject("7B"), found.useful).memory.plan.fits
    assert scaling_plan(subject("7B"), found.useful).efficiency < 0.5 < scaling_plan(subject("7B"), 1).efficiency


def test_drawing_stays_on_the_training_ranks_of_few_gpus() -> None:
    assert engine_advice(scaling_plan(subject(), 16)).endswith("gained from a split of 32 GPUs, and not from one of 16")


def test_drawing_may_leave_the_training_ranks_of_many() -> None:
    split = scaling_plan(subject("0.5B", "policy.max_new_tokens=4096"), 32)
    servers = round(split.rollout_share * 32)
    assert f"vLLM servers on about {servers} of the 32 GPUs" in engine_advice(split)
    batch = scaling_plan(subject("0.5B", "train.prompts=8192"), 64)
    assert batch.rollout_share < 0.5
    assert engine_advice(batch) == f"draw on the training ranks: rollouts take {batch.rollout_share:.0%} of a step"


def test_an_engine_that_leaves_no_room_is_to_be_split_off() -> None:
    crowded = replace(subject("7B"), memory=40 * 2**30)
    plan = scaling_plan(crowded, 16)
    assert not plan.memory.plan.fits
    assert engine_advice(plan).startswith("draw on vLLM servers: without the sampler's copy and slots a rank needs")


def test_nodes_are_as_many_as_ranks_need_or_as_told() -> None:
    assert scaling_plan(subject(), 16).cluster.nodes == 2
    assert scaling_plan(subject(), 16, nodes=4).cluster.nodes == 4


def test_a_subject_is_what_the_recipe_says() -> None:
    recipe = load_recipe(GSM8K)
    assert subject_of(recipe, H100).prompt_tokens == recipe.data.max_prompt_chars / 4
    found = subject_of(recipe, H100, memory=5, prompt_tokens=7)
    assert (found.memory, found.prompt_tokens, found.shape.parameters) == (5, 7, 494_032_768)
