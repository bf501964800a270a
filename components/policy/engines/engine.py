"""The interface of every rollout engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import Policy
from ratchet.components.pretrained.context_length import context_limit
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

    def __post_init__(self) -> None:
        """
        Raises:
            ModelError: if no completion can be drawn so; a benchmark's task may ask for it.
        """
        counts = self.samples >= 1 and self.max_new_tokens >= 1 and self.rows_at_once >= 1
        if not (counts and self.temperature >= 0 and 0 < self.top_p <= 1):
            raise ModelError(
                f"no completion can be drawn with samples={self.samples}, max_new_tokens={self.max_new_tokens}, "
                f"temperature={self.temperature:g} and top_p={self.top_p:g}. Ask for at least one sample and one token, a "
                "temperature of at least 0, and a top_p above 0 and at most 1."
            )

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


@dataclass(frozen=True)
class SamplingRequest:
    """Completions to draw."""

    prompts: Sequence[Sequence[int]]  # token ids, B prompts of any lengths
    items: Sequence[int]  # number of each prompt for its random counters, length B
    settings: SamplingSettings
    seed: SamplingSeed
    ends: Sequence[int]  # tokens that end a completion

    def __post_init__(self) -> None:
        """
        Raises:
            ModelError: if a prompt has no token.
        """
        assert len(self.prompts) == len(self.items)
        if not all(len(prompt) for prompt in self.prompts):
            raise ModelError("a prompt has no token, and a completion follows one. Write a text into each prompt.")

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.prompts), default=0)

    def only(self, numbers: Sequence[int]) -> "SamplingRequest":
        """The same for some of the prompts, in this order."""
        return replace(self, prompts=[self.prompts[i] for i in numbers], items=[self.items[i] for i in numbers])

    def draws(self) -> Tensor:
        """Uniforms of the samples of each prompt, [B x samples, max_new_tokens] fp64."""
        k, seed = self.settings.samples, self.seed
        rows = [item for item in self.items for _ in range(k)], list(range(k)) * len(self.items)
        return torch.from_numpy(uniforms(seed.seed, seed.purpose, seed.step, *rows, self.settings.max_new_tokens))


class RolloutEngine(Protocol):
    """Draws completions: one of these engines, or an external one that receives the policy's weights.

    Returns:
        For each of the B prompts, ``settings.samples`` completions with the log-probs at which the engine drew them.

    Raises:
        ModelError: if a completion could run past the model's context.
    """

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]: ...


def check_room(model: PreTrainedModel, request: SamplingRequest) -> None:
    """Refuse prompts whose completions could run past the model's context.

    Raises:
        ModelError: naming the longest prompt and the remedy.
    """
    limit = context_limit(model.config.get_text_config())
    longest, new = request.longest, request.settings.max_new_tokens
    if limit is not None and longest + new > limit.tokens:
        raise ModelError(
            f"a prompt of {longest} tokens and {new} new ones exceed {limit.text}. "
            "Lower policy.max_new_tokens or data.max_prompt_chars."
        )
