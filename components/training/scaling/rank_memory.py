"""What a rank holds in its GPU's memory: the whole state of training, or a share of it."""

from dataclasses import dataclass
from typing import Literal

from ratchet.components.policy.configuration import ModelShape
from ratchet.components.recipe import Recipe
from ratchet.components.training.estimate import MemoryPlan, Place, memory_plan
from ratchet.components.training.memory import GIB, Estimate

Mode = Literal["replicated", "sharded"]
MOST_RANKS = 1024  # tried, where a number of ranks does not suffice
OF_THE_SAMPLER = {"key-value slots", "key-value cache", "sampler's copy of the weights", "sampler's logits", "gathered weights"}


@dataclass(frozen=True)
class RankMemory:
    """The memory of the rank that has the most prompts."""

    mode: Mode
    why: str
    plan: MemoryPlan


def dealt(recipe: Recipe, workers: int) -> Recipe:
    """The recipe of the rank with the most prompts: each minibatch is dealt to the ranks by whole prompts."""
    train = recipe.train
    most = train.minibatches * -(-train.prompts // (train.minibatches * workers))
    return recipe.model_copy(update={"train": train.model_copy(update={"prompts": most})})


def rank_memory(recipe: Recipe, shape: ModelShape, prompt_tokens: int, place: Place, workers: int) -> RankMemory:
    """The mode that ranks of ``place`` take: the recipe's; else replicated where that fits, because it sends less, or sharded.

    *Replicated* (data parallel): the estimate of one process that has this rank's prompts. Gradients are added up in buckets
    when the activations are gone, which adds nothing to the peak. *Sharded* (FSDP2): that of one with ``shards``; never with
    moments in 8 bits.

    Raises:
        RecipeError: if ``train.k`` is still ``auto``.
    """
    wanted = recipe.launch.weights if recipe.train.optimizer == "adamw" else "replicated"
    own = dealt(recipe, workers)
    whole = memory_plan(own, shape, prompt_tokens, place)
    budget = f"{place.budget / GIB:,.1f} GiB may be used"
    needs = f"the whole state takes {whole.estimate.peak / GIB:,.1f} GiB on each rank, and {budget}"
    if workers == 1 or wanted == "replicated" or (whole.fits and wanted == "auto"):
        return RankMemory("replicated", needs, whole)
    plan = memory_plan(own, shape, prompt_tokens, place, workers)
    more = "" if plan.fits else f", {_remedy(recipe, shape, prompt_tokens, place, workers)}"
    return RankMemory("sharded", f"{needs}; sharded it takes {plan.estimate.peak / GIB:,.1f} GiB{more}", plan)


def without_sampler(whole: Estimate) -> int:
    """Bytes at the most demanding moment of a rank that draws nothing."""
    return Estimate([part for part in whole.parts if part.name not in OF_THE_SAMPLER]).peak


def _remedy(recipe: Recipe, shape: ModelShape, prompt_tokens: int, place: Place, workers: int) -> str:
    """How many ranks would do, in powers of two."""
    more = [2**power for power in range(MOST_RANKS.bit_length()) if 2**power > workers]
    for count in more:
        if memory_plan(dealt(recipe, count), shape, prompt_tokens, place, count).fits:
            return f"which needs {count} ranks to fit"
    return f"which fits on no number of ranks up to {MOST_RANKS}"
