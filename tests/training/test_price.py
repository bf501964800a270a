"""What algorithms cost: operations counted by hand, parameters as published, ratios at one micro-batch."""

from typing import Any

import pytest

from ratchet.components.policy.configuration import ModelShape, shape_of, stated_configuration
from ratchet.components.recipe import Train
from ratchet.components.training.estimate import Place
from ratchet.components.training.memory import GIB
from ratchet.components.training.price import SIZES, Operations, operations, prices
from tests.places import RECIPES

SHAPE = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=1000, head_parameters=0)
STEP = {"prompts": 2, "k": 2}  # with prompts of 3 and completions of 5 tokens: 26 tokens, 20 of them drawn
FORWARD, LOGITS = 2 * (1000 - 100 * 8) * 26, 2 * 100 * 8 * 20


def test_a_step_of_grpo_draws_and_learns() -> None:
    found = operations(Train(**STEP, algorithm="grpo", kl="none"), SHAPE, 3, 5)
    assert found == Operations(FORWARD + LOGITS, 0, 3 * FORWARD + 4 * LOGITS)
    assert found.total == 4 * FORWARD + 5 * LOGITS


@pytest.mark.parametrize(
    ("settings", "forward", "logits"),
    [
        ({"kl": "loss"}, 1, 1),  # the reference scores
        ({"algorithm": "ppo"}, 1 + 3, 0),  # the critic scores and learns, on hidden states alone
        ({"algorithm": "ppo", "critic": {"trunk": "shared"}}, 1, 0),  # it scores, and learns in the policy's pass
        ({"gradient_checkpointing": True}, 1, 0),
        ({"epochs": 2}, 3, 4),
        ({"lora": {"rank": 2}}, -1, -1),  # frozen matrices have no gradient
    ],
)
def test_what_adds_to_it(settings: dict[str, Any], forward: int, logits: int) -> None:
    plain, other = (operations(Train(**STEP, **{"kl": "none", **given}), SHAPE, 3, 5) for given in ({}, settings))
    assert other.learning - plain.learning == forward * FORWARD + logits * LOGITS
    assert other.rollout == plain.rollout


def test_reference_and_critic_score_before_the_update() -> None:
    found = operations(Train(**STEP, algorithm="ppo", kl="reward"), SHAPE, 3, 5)
    assert found.scoring == 2 * FORWARD + LOGITS
    assert found.learning == found.scoring + found.update


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("Qwen2.5-0.5B", 494_032_768),
        ("Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen2.5-3B", 3_085_938_688),
        ("Qwen2.5-7B", 7_615_616_512),
    ],
)
def test_sizes_have_the_parameters_of_their_published_weights(size: str, parameters: int) -> None:
    assert shape_of(stated_configuration(SIZES[size], size)).parameters == parameters


def test_algorithms_are_compared_at_one_micro_batch() -> None:
    overrides = ["train.micro_tokens=auto", "train.gradient_checkpointing=auto"]
    for sizes in prices(RECIPES / "gsm8k_grpo.yaml", overrides, ["grpo", "ppo"], Place("cuda", 80 * GIB)):
        grpo, own, shared = sizes
        assert len({price.plan.choice for price in sizes}) == 1
        assert shared.plan.estimate.peak == grpo.plan.estimate.peak < own.plan.estimate.peak
        assert own.beside(grpo)["step_ratio"] < own.beside(grpo)["learning_ratio"]
