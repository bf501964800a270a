"""The interface of every rollout engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import Policy
from ratchet.components.randomness import uniforms


@dataclass(frozen=True)
class Completion:
    """One sampled completion; ``tokens`` ends with one of the policy's ends unless it was truncated at the limit."""

    tokens: list[int]
    log_probs: Sequence[float]  # of the sampler, at its temperature and within its top-p, one per token
    finished: bool
    entropies: Sequence[float] = field(default_factory=list)  # nats, of the distribution from which each token was drawn
    nucleus: list[list[int]] | None = None  # the ids that top-p kept, one list per token; None if it kept all


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn; temperature 0 is greedy."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    rows_at_once: int = 512

    @property
    def cuts(self) -> bool:
        """Whether top-p removes tokens."""
        return self.top_p < 1 and self.temperature > 0


@dataclass(frozen=True)
class SamplingSeed:
    """Names the draws: (run seed, purpose, step); prompt and sample numbers are added per row."""

    seed: int
    purpose: str
    step: int = 0

    def draws(self, items: Sequence[int], settings: SamplingSettings) -> Tensor:
        """Uniforms of the samples of each item, [items x samples, max_new_tokens] fp64."""
        k = settings.samples
        rows = [item for item in items for _ in range(k)], list(range(k)) * len(items)
        return torch.from_numpy(uniforms(self.seed, self.purpose, self.step, *rows, settings.max_new_tokens))


class RolloutEngine(Protocol):
    """Draws completions: one of these engines, or an external one that receives the policy's weights.

    Returns:
        For each of the B prompts, ``settings.samples`` completions with the log-probs at which the engine drew them.
    """

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        items: Sequence[int],
        settings: SamplingSettings,
        seed: SamplingSeed,
    ) -> list[list[Completion]]: ...


def check_room(model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: SamplingSettings) -> None:
    """Refuse prompts whose completions could run past the model's context.

    Raises:
        ModelError: naming the longest prompt and the remedy.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if limit is not None and longest + settings.max_new_tokens > limit:
        raise ModelError(
            f"a prompt of {longest} tokens and {settings.max_new_tokens} new ones exceed the model's context of {limit}. "
            "Lower policy.max_new_tokens or data.max_prompt_chars."
        )
