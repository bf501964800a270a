"""What a training step of each algorithm costs over model sizes: memory by the estimate, and arithmetic.

Arithmetic is that of matrix products, two operations per parameter and token forward and twice that backward (Kaplan et al.
2020, arXiv:2001.08361, section 2.1). Attention's own products are left out: a few percent at contexts of some hundred tokens.
Drawing completions is the same work for every algorithm, and takes longer than its share of the arithmetic, because memory's
bandwidth limits it: in seconds the ratio of two steps is closer to 1 than in operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.components.policy.configuration import ModelShape, shape_of, stated_configuration
from ratchet.components.recipe import Recipe, Train, load_recipe
from ratchet.components.training.estimate import MemoryPlan, Place, memory_plan, planned_prompt, planned_shape
from ratchet.components.training.memory import GIB, choices, with_choice

Fields = dict[str, bool | int | float | str]


def _qwen(width: int, feed_forward: int, layers: int, heads: int, **others: bool | int) -> Fields:
    """Of a Qwen2.5's config.json."""
    sizes: Fields = {"hidden_size": width, "intermediate_size": feed_forward, "num_hidden_layers": layers}
    small = {"num_attention_heads": heads, "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True}
    return {"model_type": "qwen2", **sizes, **small, **others}


SIZES = {
    "Qwen2.5-0.5B": _qwen(896, 4_864, 24, 14),
    "Qwen2.5-1.5B": _qwen(1_536, 8_960, 28, 12),
    "Qwen2.5-3B": _qwen(2_048, 11_008, 36, 16),
    "Qwen2.5-7B": _qwen(3_584, 18_944, 28, 28, num_key_value_heads=4, vocab_size=152_064, tie_word_embeddings=False),
}


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a step."""

    rollout: float
    scoring: float  # by the reference and the critic, before the update
    update: float

    @property
    def learning(self) -> float:
        return self.scoring + self.update

    @property
    def total(self) -> float:
        return self.rollout + self.learning


@dataclass(frozen=True)
class Price:
    """What a step of one algorithm costs at one size."""

    size: str
    algorithm: str  # with the critic's trunk, if there is a critic
    parameters: int
    plan: MemoryPlan
    operations: Operations

    def beside(self, base: "Price") -> dict[str, Any]:
        """As JSON, with the ratios to another one's."""
        peaks = self.plan.estimate.peak, base.plan.estimate.peak
        return {
            "size": self.size,
            "algorithm": self.algorithm,
            "parameters": self.parameters,
            "memory_gib": peaks[0] / GIB,
            "memory_ratio": peaks[0] / peaks[1],
            "fits": self.plan.fits,
            "train": self.plan.choice._asdict(),
            "rollout_tflop": self.operations.rollout / 1e12,
            "learning_tflop": self.operations.learning / 1e12,
            "learning_ratio": self.operations.learning / base.operations.learning,
            "step_ratio": self.operations.total / base.operations.total,
        }


def operations(train: Train, shape: ModelShape, prompt_tokens: int, new_tokens: int) -> Operations:
    """The arithmetic of a step whose completions all reach ``new_tokens``; a group's prompt is computed once.

    The head runs on completion tokens alone, and its logits are made again in the backward pass. A frozen matrix (LoRA) has no
    gradient of its own, and a checkpointed layer runs forward again. Refills are not counted.
    """
    head = shape.vocabulary * shape.width
    trunk = shape.trunk_parameters - head  # embeddings are looked up, not multiplied
    completions = train.prompts * train.group_size * new_tokens
    forward = 2.0 * trunk * (train.prompts * prompt_tokens + completions)
    logits = 2.0 * head * completions
    backward = 1 if train.lora else 2
    update = train.epochs * ((1 + backward + bool(train.gradient_checkpointing)) * forward + (2 + backward) * logits)
    if train.has_critic and train.critic.trunk == "own":
        update += train.epochs * (1 + backward) * forward
    scoring = train.needs_reference * (forward + logits) + train.has_critic * forward
    return Operations(forward + logits, scoring, update)


def prices(recipe: Path, overrides: Sequence[str], algorithms: Sequence[str], place: Place) -> list[list[Price]]:
    """For each size, the algorithms' prices in the order given: that of the recipe's model, then Qwen2.5's.

    Everything but the algorithm, its preset and the critic's trunk is the recipe's.

    Raises:
        RecipeError: if an algorithm is unknown, or does not go with the recipe.
    """
    own = load_recipe(recipe, overrides)
    shapes = {own.policy.model or "this recipe's": planned_shape(own)}
    shapes |= {name: shape_of(stated_configuration(fields, name)) for name, fields in SIZES.items()}
    arms = {name: load_recipe(recipe, given) for one in algorithms for name, given in _arms(recipe, overrides, one)}
    return [[_price(size, shape, *plan) for plan in _plans(arms, shape, place)] for size, shape in shapes.items()]


def _arms(recipe: Path, overrides: Sequence[str], algorithm: str) -> list[tuple[str, list[str]]]:
    """An algorithm by name, with the overrides that make the recipe its own; twice if it has a critic."""
    settings = [*overrides, f"train.algorithm={algorithm}"]
    if not load_recipe(recipe, settings).train.has_critic:
        return [(algorithm, settings)]
    shared = ["train.critic.trunk=shared", "train.critic.sees=tokens", "train.critic.minibatches=null"]  # all it can do
    own = ["train.critic.trunk=own"]
    return [(f"{algorithm}, own critic", [*settings, *own]), (f"{algorithm}, shared trunk", [*settings, *shared])]


def _plans(arms: Mapping[str, Recipe], shape: ModelShape, place: Place) -> list[tuple[str, Recipe, MemoryPlan]]:
    """Each algorithm's plan, with the values of ``auto`` at which all of them fit: otherwise one with more memory left would be
    compared at a larger micro-batch."""
    options = choices(next(iter(arms.values())).train, place.kind == "cuda")

    def plan(recipe: Recipe) -> MemoryPlan:
        return memory_plan(recipe, shape, planned_prompt(recipe), place)

    common = max((plan(recipe).choice for recipe in arms.values()), key=options.index)
    settled = {name: one.model_copy(update={"train": with_choice(one.train, common)}) for name, one in arms.items()}
    return [(name, one, plan(one)) for name, one in settled.items()]


def _price(size: str, shape: ModelShape, name: str, recipe: Recipe, plan: MemoryPlan) -> Price:
    needed = operations(plan.train, shape, planned_prompt(recipe), recipe.policy.max_new_tokens)
    return Price(size, name, shape.parameters, plan, needed)
