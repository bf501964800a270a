"""Which micro-batch fits into a device's memory, and whether activations must be computed again: by estimate, not by trial.

Fewer tokens per forward pass cost little down to some thousands; checkpointing costs a third of the update, offload more.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ratchet.components.policy.shape import ModelShape
from ratchet.components.recipe import Train
from ratchet.components.training.memory import Estimate, Load, estimate

SHARE = {"cuda": 0.85, "cpu": 0.7}  # of the memory: the rest is for libraries' own, fragments, and the estimate's error


class Choice(NamedTuple):
    """Values of ``train`` that memory decides; the names are the recipe's."""

    micro_tokens: int
    gradient_checkpointing: bool
    offload: bool


# In order of preference.
LADDER = [
    *(Choice(tokens, False, False) for tokens in (16_384, 8_192, 4_096)),
    *(Choice(tokens, True, False) for tokens in (16_384, 8_192, 4_096, 2_048)),
    *(Choice(tokens, True, True) for tokens in (16_384, 8_192, 4_096, 2_048, 1_024, 512)),
]


def choices(train: Train, cuda: bool) -> list[Choice]:
    """What the recipe leaves open, best first; a single one where it says everything. On a CPU nothing can be offloaded."""
    given = {name: value for name in Choice._fields if (value := getattr(train, name)) != "auto"}
    return list(dict.fromkeys(choice._replace(**given) for choice in LADDER if cuda or not choice.offload))


def fitted(options: Sequence[Choice], estimated: Callable[[Choice], Estimate], budget: int) -> Choice:
    """The first that stays within ``budget`` bytes; the last where none does."""
    return next((choice for choice in options if estimated(choice).peak <= budget), options[-1])


def with_choice(train: Train, choice: Choice) -> Train:
    """The section with these values."""
    return train.model_copy(update=choice._asdict())


def load_of(train: Train, shape: ModelShape, choice: Choice, **given: Any) -> Load:
    """The load of the recipe's step; ``given`` are the fields of :class:`Load` that it does not say."""
    trained = None if train.lora is None else lora_parameters(shape, train.lora.rank)
    return Load(
        samples=train.prompts * train.group_size,
        k=train.group_size,
        micro_tokens=choice.micro_tokens,
        checkpointing=choice.gradient_checkpointing,
        offload=choice.offload,
        trained=trained,
        critic=train.has_critic and train.critic.trunk == "own",
        **given,
    )


def lora_parameters(shape: ModelShape, rank: int) -> int:
    """Of two matrices beside each linear layer but the head: rank x (inputs + outputs)."""
    h, q, g, f = shape.width, shape.query, shape.key_value, shape.feed_forward
    return shape.layers * rank * (2 * (h + q) + 2 * (h + g) + 3 * (h + f))


def estimate_of(train: Train, shape: ModelShape, choice: Choice, **given: Any) -> Estimate:
    """The estimate of the recipe's step; ``given`` as for :func:`load_of`."""
    return estimate(shape, load_of(train, shape, choice, **given))
