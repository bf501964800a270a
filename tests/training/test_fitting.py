"""What memory decides: the first choice that fits, within what the recipe leaves open."""

import pytest

from ratchet.components.policy.shape import ModelShape
from ratchet.components.recipe import Train
from ratchet.components.training.fitting import Choice, choices, estimate_of, fitted, load_of, lora_parameters, with_choice
from ratchet.components.training.memory import Estimate, Part

SHAPE = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=1000, head_parameters=0)
AUTO = {"micro_tokens": "auto", "gradient_checkpointing": "auto", "offload": "auto"}
GIVEN = {"prompt_tokens": 10, "new_tokens": 5, "low": False}


def by_tokens(choice: Choice) -> Estimate:
    """A byte per token; checkpointing halves it, offload halves that."""
    return Estimate([Part("x", choice.micro_tokens >> (choice.gradient_checkpointing + choice.offload), "update")])


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (16_384, Choice(16_384, False, False)),
        (16_383, Choice(8_192, False, False)),
        (4_095, Choice(4_096, True, False)),
        (1_023, Choice(2_048, True, True)),
        (1, Choice(512, True, True)),
    ],
)
def test_the_first_that_fits_is_chosen_and_otherwise_the_least(budget: int, chosen: Choice) -> None:
    assert fitted(choices(Train.model_validate(AUTO), cuda=True), by_tokens, budget) == chosen


def test_what_the_recipe_says_is_not_chosen() -> None:
    train = Train.model_validate(AUTO | {"micro_tokens": 300, "offload": False})
    assert choices(train, cuda=True) == [Choice(300, False, False), Choice(300, True, False)]
    assert choices(Train(), cuda=True) == [Choice(16_384, False, False)]
    assert with_choice(train, Choice(300, True, False)).tokens_at_once == 300


def test_nothing_is_offloaded_on_a_cpu() -> None:
    found = choices(Train.model_validate(AUTO), cuda=False)
    assert found[-1] == Choice(2_048, True, False)
    assert not any(choice.offload for choice in found)


def test_offload_without_checkpoints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set train\.gradient_checkpointing, or offload=false"):
        Train(offload=True)


def test_lora_learns_two_matrices_beside_each_linear_layer() -> None:
    from ratchet.components.policy.adapters import add_lora
    from ratchet.components.policy.shape import shape_of_model
    from tests.tiny_models import tiny_policy

    policy = tiny_policy(layers=2)
    shape = shape_of_model(policy.model)
    add_lora(policy, 3, 6, 0)
    assert lora_parameters(shape, 3) == sum(p.numel() for p in policy.model.parameters() if p.requires_grad)


def test_a_load_is_the_recipes_step() -> None:
    train = Train(algorithm="ppo", prompts=6, k=2)
    load = load_of(train, SHAPE, Choice(1_000, False, False), **GIVEN)
    assert (load.samples, load.critic, load.packed, load.targets) == (12, True, 120, 60)  # all six groups of 10 + 2 x 5
    assert load_of(train, SHAPE, Choice(41, False, False), **GIVEN).packed == 40  # a group is not cut
    assert load_of(train, SHAPE, Choice(1, False, False), **GIVEN).packed == 20  # at least a group


def test_ppo_holds_a_critic_and_grpo_does_not() -> None:
    ppo, grpo = (
        estimate_of(Train(algorithm=name, kl="none"), SHAPE, Choice(1_000, False, False), **GIVEN) for name in ("ppo", "grpo")
    )
    assert ppo.of("held") - grpo.of("held") == 12 * SHAPE.trunk_parameters
    assert grpo.of("held") == 12 * SHAPE.parameters
    assert grpo.of("critic") == 0
    assert ppo.of("critic") > 4 * SHAPE.trunk_parameters
