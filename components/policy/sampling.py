"""Roll out completions: each prompt's key-value cache is computed once, finished sequences leave the batch.

A token is drawn by inverting the cumulative distribution at one uniform per (sample, position), so that a completion
depends only on the model, its prompt and its own counters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.errors import ModelError
from components.policy.loading import Policy
from components.randomness import uniforms


@dataclass(frozen=True)
class Completion:
    """One sampled completion; ``tokens`` ends with end-of-sequence unless it was cut at the limit."""

    tokens: list[int]
    log_probs: list[float]  # of the sampler, at its temperature and within its top-p, one per token
    finished: bool
    entropies: list[float] = field(default_factory=list)  # nats, of the distribution that each token was drawn from
    nucleus: list[list[int]] | None = None  # the ids that top-p left, one list per token; None where it left all


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn; temperature 0 is greedy."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    rows_at_once: int = 512


@dataclass(frozen=True)
class SamplingSeed:
    """Names the draws: (run seed, purpose, step); prompt and sample numbers are added per row."""

    seed: int
    purpose: str
    step: int = 0


class RolloutEngine(Protocol):
    """Whatever draws completions: the policy itself (:func:`generate`), or another engine that is given its weights.

    Returns:
        For each of the B prompts, ``settings.samples`` completions with the log-probs that the engine drew them at.
    """

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        items: Sequence[int],
        settings: SamplingSettings,
        seed: SamplingSeed,
    ) -> list[list[Completion]]: ...


def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
) -> list[list[Completion]]:
    """The rollout engine that needs nothing else: the policy's own forward pass, in its own precision."""
    with policy.autocast():
        return sample(policy.model, prompts, items, settings, seed, policy.end_of_sequence)


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    end_of_sequence: int,
) -> list[list[Completion]]:
    """Sample completions for every prompt.

    Args:
        prompts: token ids, B non-empty prompts of any lengths.
        items: number of each prompt for its random counters, length B.

    Returns:
        B lists of ``settings.samples`` completions, in the order of the prompts.

    Raises:
        ModelError: if a completion could run past the model's context.
    """
    assert len(prompts) == len(items)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if limit is not None and longest + settings.max_new_tokens > limit:
        raise ModelError(
            f"a prompt of {longest} tokens and {settings.max_new_tokens} new ones exceed the model's context of {limit}. "
            "Lower policy.max_new_tokens or data.max_prompt_chars."
        )
    results: dict[int, list[Completion]] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    per_chunk = max(1, settings.rows_at_once // settings.samples)
    with torch.inference_mode():
        for start in range(0, len(by_length), per_chunk):
            chunk = by_length[start : start + per_chunk]
            rows = _sample_chunk(model, [prompts[i] for i in chunk], [items[i] for i in chunk], settings, seed, end_of_sequence)
            for number, prompt in enumerate(chunk):
                results[prompt] = rows[number * settings.samples : (number + 1) * settings.samples]
    return [results[i] for i in range(len(prompts))]


def _sample_chunk(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    end_of_sequence: int,
) -> list[Completion]:
    device, k = model.device, settings.samples
    draws = torch.from_numpy(
        uniforms(
            seed.seed,
            seed.purpose,
            seed.step,
            [item for item in items for _ in range(k)],
            list(range(k)) * len(items),
            settings.max_new_tokens,
        )
    ).to(device)
    drawn = _Drawn(len(prompts) * k, settings, end_of_sequence, device)
    for position, (alive, logits) in enumerate(_decode(model, prompts, settings, drawn.tokens, end_of_sequence)):
        drawn.note(alive, position, choose(logits, draws[alive, position], settings.temperature, settings.top_p))
    return drawn.completions(end_of_sequence)


class _Drawn:
    """What has been drawn so far, by row and position."""

    def __init__(self, count: int, settings: SamplingSettings, fill: int, device: torch.device) -> None:
        shape = (count, settings.max_new_tokens)
        self.tokens = torch.full(shape, fill, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.entropies = torch.zeros(shape, device=device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=device)
        cut = settings.top_p < 1 and settings.temperature > 0
        self.nucleus: list[list[list[int]]] | None = [[] for _ in range(count)] if cut else None

    def note(self, alive: Tensor, position: int, choice: "Choice") -> None:
        self.tokens[alive, position] = choice.tokens
        self.log_probs[alive, position] = choice.log_probs
        self.entropies[alive, position] = choice.entropies
        self.lengths[alive] = position + 1
        if self.nucleus is not None:
            assert choice.kept is not None
            for row, kept in zip(alive.tolist(), choice.kept, strict=True):
                self.nucleus[row].append(kept.nonzero()[:, 0].tolist())

    def completions(self, end_of_sequence: int) -> list[Completion]:
        rows = zip(self.tokens.tolist(), self.log_probs.tolist(), self.entropies.tolist(), self.lengths.tolist(), strict=True)
        return [
            Completion(t[:n], p[:n], n > 0 and t[n - 1] == end_of_sequence, e[:n], self.nucleus[i] if self.nucleus else None)
            for i, (t, p, e, n) in enumerate(rows)
        ]


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    tokens: Tensor,
    end_of_sequence: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (numbers of the live rows, their next-token logits) per position; the caller writes ``tokens`` in between."""
    device = model.device
    width = max(map(len, prompts))
    padded = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    real = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=padded, attention_mask=real, position_ids=positions, use_cache=True, logits_to_keep=1)
    cache = out.past_key_values
    cache.batch_repeat_interleave(settings.samples)
    logits = out.logits[:, -1].repeat_interleave(settings.samples, 0)
    real = real.repeat_interleave(settings.samples, 0)
    next_position = positions[:, -1:].repeat_interleave(settings.samples, 0) + 1
    alive = torch.arange(len(tokens), device=device)
    for position in range(settings.max_new_tokens):
        yield alive, logits
        keep = (tokens[alive, position] != end_of_sequence).nonzero()[:, 0]
        if len(keep) == 0 or position + 1 == settings.max_new_tokens:
            return
        if len(keep) < len(alive):
            alive, real, next_position = alive[keep], real[keep], next_position[keep]
            cache.batch_select_indices(keep)
        real = torch.cat([real, real.new_ones(len(alive), 1)], 1)
        step = model(
            input_ids=tokens[alive, position][:, None],
            attention_mask=real,
            position_ids=next_position,
            past_key_values=cache,
            use_cache=True,
        )
        cache, logits, next_position = step.past_key_values, step.logits[:, -1], next_position + 1


class Choice(NamedTuple):
    """Next tokens of B rows."""

    tokens: Tensor  # [B] long
    log_probs: Tensor  # [B]
    entropies: Tensor  # [B], nats
    kept: Tensor | None  # [B, V] bool: what top-p left; None where it left all


def choose(logits: Tensor, draws: Tensor, temperature: float, top_p: float = 1.0) -> Choice:
    """Draw next tokens.

    Args:
        logits: [B, V].
        draws: uniforms in [0, 1), [B]; token v is chosen where the cumulative distribution first exceeds the draw.
        temperature: 0 takes the most likely token, whose log-prob is that at temperature 1.
        top_p: only the most likely tokens are drawn from, as few as reach this probability together (arXiv:1904.09751).
    """
    log_softmax = (logits.float() / (temperature or 1.0)).log_softmax(-1)
    kept = None
    if top_p < 1 and temperature:
        kept = nucleus_of(log_softmax, top_p)
        log_softmax = log_softmax.masked_fill(~kept, -torch.inf).log_softmax(-1)
    probabilities = log_softmax.exp()
    entropies = -torch.where(probabilities > 0, probabilities * log_softmax, 0.0).sum(-1)
    if temperature == 0:
        chosen = log_softmax.argmax(-1)
    else:
        cumulative = probabilities.double().cumsum(-1)
        threshold = draws.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return Choice(chosen, log_softmax.gather(-1, chosen[:, None])[:, 0], entropies, kept)


def nucleus_of(log_probs: Tensor, top_p: float) -> Tensor:
    """[B, V] bool: the smallest set of most likely tokens whose probabilities reach ``top_p``; never empty."""
    ordered, ids = log_probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    return torch.zeros_like(log_probs, dtype=torch.bool).scatter(-1, ids, before < top_p)
