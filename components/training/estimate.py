"""The memory that training a recipe takes, and the ``auto`` values that it decides: before training and at its start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ratchet.components.errors import RecipeError
from ratchet.components.policy.configuration import ModelShape, configuration_of, read_configuration, shape_of
from ratchet.components.recipe import Recipe, Train
from ratchet.components.training.memory import GIB, SHARE, Choice, Estimate, choices, estimate_of, fitted, with_choice

CHARS_PER_TOKEN = 4  # of English in common vocabularies, if no prompt can be encoded yet


@dataclass(frozen=True)
class Place:
    """Where training runs."""

    kind: str  # cpu or cuda
    memory: int  # bytes

    @property
    def budget(self) -> int:
        """Largest estimate allowed, in bytes."""
        return int(self.memory * SHARE[self.kind])


@dataclass(frozen=True)
class MemoryPlan:
    """The chosen values and their estimate."""

    train: Train
    choice: Choice
    estimate: Estimate
    place: Place
    prompt_tokens: int

    @property
    def fits(self) -> bool:
        return self.estimate.peak <= self.place.budget

    def as_json(self) -> dict[str, Any]:
        """Memory in GiB."""
        parts = [{"name": p.name, "phase": p.phase, "gib": p.bytes / GIB} for p in self.estimate.parts]
        return {
            "device": self.place.kind,
            "device_gib": self.place.memory / GIB,
            "budget_gib": self.place.budget / GIB,
            "prompt_tokens": self.prompt_tokens,
            "parts": parts,
            "estimate_gib": self.estimate.peak / GIB,
            "fits": self.fits,
            "train": self.choice._asdict(),
        }


def memory_plan(recipe: Recipe, shape: ModelShape, prompt_tokens: int, place: Place, shards: int = 1) -> MemoryPlan:
    """Resolve ``auto`` in ``train.micro_tokens``, ``gradient_checkpointing`` and ``offload``.

    Args:
        shards: ranks that hold a part of the state each.

    Raises:
        RecipeError: if ``train.k`` is still ``auto``.
    """
    train = recipe.train
    if train.k == "auto":
        raise RecipeError("train.k: auto is set by the reward's validation, which has not run. Pass --set train.k=8.")
    given = {
        "prompt_tokens": prompt_tokens,
        "new_tokens": recipe.policy.max_new_tokens,
        "cuda": place.kind == "cuda",
        "low": in_bf16(train, place),
        "shards": shards,
        "reference": _reference(train, place),
        "reward_parameters": shape.trunk_parameters * recipe.reward.model.members if recipe.reward.needs_model else 0,
    }

    def estimated(choice: Choice) -> Estimate:
        return estimate_of(train, shape, choice, **given)

    choice = fitted(choices(train, place.kind == "cuda"), estimated, place.budget)
    return MemoryPlan(with_choice(train, choice), choice, estimated(choice), place, prompt_tokens)


def in_bf16(train: Train, place: Place) -> bool:
    """Whether the forward pass is under bf16 autocast."""
    return train.precision == "bf16" or (train.precision == "auto" and place.kind == "cuda")


def _reference(train: Train, place: Place) -> Literal["held", "dev"] | None:
    """When a copy of the starting policy is on the device: an adapter can be switched off instead."""
    if train.lora is not None or not train.measures_divergence:
        return None
    return "held" if train.needs_reference or place.kind == "cpu" else "dev"


def plan_ahead(recipe: Recipe, place: Place, config: Path | None = None, prompt_tokens: int | None = None) -> MemoryPlan:
    """The plan before data and model exist: the shape from the model's configuration, prompts as long as the recipe allows.

    Args:
        config: a config.json to use instead of the recipe's model.

    Raises:
        RecipeError: if the shape of the model is unknown.
    """
    return memory_plan(recipe, planned_shape(recipe, config), prompt_tokens or planned_prompt(recipe), place)


def planned_prompt(recipe: Recipe) -> int:
    """Tokens of the longest prompt that the recipe allows."""
    return -(-recipe.data.max_prompt_chars // CHARS_PER_TOKEN)


def planned_shape(recipe: Recipe, config: Path | None = None) -> ModelShape:
    """
    Raises:
        RecipeError: if it is unknown.
    """
    from ratchet.components.policy.tiny import tiny_config

    policy = recipe.policy
    if config is not None:
        return shape_of(read_configuration(config))
    if policy.model is not None:
        return shape_of(configuration_of(policy.model, policy.revision, policy.shape))
    warmup = policy.tiny
    options = {"layers": warmup.layers, "width": warmup.width, "heads": warmup.heads, "context": warmup.context}
    return shape_of(tiny_config(warmup.vocabulary, **options))
