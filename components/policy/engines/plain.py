"""The engine for every model: the model's own forward pass and cache; finished sequences leave the batch.

Each prompt's key-value cache is computed once. A token is drawn by inverting the cumulative distribution at one uniform per
(sample, position), so that a completion depends only on the model, its prompt and its own counters.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSettings, check_room
from ratchet.components.policy.engines.roomy_cache import repeat_rows
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.sampler import Choice, choose


def generate(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
    """The rollout engine that only needs the policy's own forward pass, in its own precision."""
    with policy.autocast():
        return sample(policy.model, request)


class Batch(Protocol):
    """Prompts of which ``samples`` rows each are drawn, a token at a time."""

    logits: Tensor  # [A, V] of each row's next token, fp32 or the model's type

    def keep(self, rows: Tensor) -> None:
        """Go on with these of the A rows only, [A'] ascending."""

    def step(self, tokens: Tensor) -> None:
        """Advance each row by the token that it drew, [A]."""


Begin = Callable[[Sequence[Sequence[int]], int, int], Batch]  # from prompts, samples of each, and new tokens at most


def sample(model: PreTrainedModel, request: SamplingRequest, begin: Begin | None = None) -> list[list[Completion]]:
    """Sample completions for every prompt.

    Args:
        begin: how some of the prompts are begun; unless given, with the model's own cache.

    Returns:
        B lists of ``settings.samples`` completions, in the order of the prompts.

    Raises:
        ModelError: if a completion could run past the model's context.
    """
    check_room(model, request)
    begin = begin or partial(_Cached, model)
    prompts, settings = request.prompts, request.settings
    results: dict[int, list[Completion]] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    per_chunk = max(1, settings.rows_at_once // settings.samples)
    with torch.inference_mode():
        for start in range(0, len(by_length), per_chunk):
            chunk = by_length[start : start + per_chunk]
            part = request.only(chunk)
            batch = begin(part.prompts, settings.samples, settings.max_new_tokens)
            rows = _draw(batch, part.draws().to(model.device), settings, request.ends)
            for number, prompt in enumerate(chunk):
                results[prompt] = rows[number * settings.samples : (number + 1) * settings.samples]
    return [results[i] for i in range(len(prompts))]


def _draw(batch: Batch, draws: Tensor, settings: SamplingSettings, ends: Sequence[int]) -> list[Completion]:
    """All rows of a batch to their ends, with one uniform per row and position, [rows, new tokens]."""
    device, limit = draws.device, settings.max_new_tokens
    drawn = _Drawn(len(draws), settings, device)
    alive, last = torch.arange(len(draws), device=device), torch.tensor(ends, dtype=torch.long, device=device)
    for position in range(limit):
        drawn.note(alive, position, choose(batch.logits, draws[alive, position], settings.temperature, settings.top_p))
        # Waits for the device at every token; the slots engine reads finished rows every few steps.
        keep = (drawn.tokens[alive, position, None] != last).all(-1).nonzero()[:, 0]
        if len(keep) == 0 or position + 1 == limit:
            break
        if len(keep) < len(alive):
            alive = alive[keep]
            batch.keep(keep)
        batch.step(drawn.tokens[alive, position])
    return drawn.completions(ends)


class _Drawn:
    """What has been drawn so far, by row and position."""

    def __init__(self, count: int, settings: SamplingSettings, device: torch.device) -> None:
        shape = (count, settings.max_new_tokens)
        self.tokens = torch.zeros(shape, dtype=torch.long, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.entropies = torch.zeros(shape, device=device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=device)
        self.nucleus: list[list[list[int]]] | None = [[] for _ in range(count)] if settings.cuts else None

    def note(self, alive: Tensor, position: int, choice: Choice) -> None:
        self.tokens[alive, position] = choice.tokens
        self.log_probs[alive, position] = choice.log_probs
        self.entropies[alive, position] = choice.entropies
        self.lengths[alive] = position + 1
        if self.nucleus is not None:
            assert choice.kept is not None
            for row, kept in zip(alive.tolist(), choice.kept, strict=True):
                self.nucleus[row].append(kept.nonzero()[:, 0].tolist())

    def completions(self, ends: Sequence[int]) -> list[Completion]:
        rows = zip(self.tokens.tolist(), self.log_probs.tolist(), self.entropies.tolist(), self.lengths.tolist(), strict=True)
        return [
            Completion(t[:n], p[:n], n > 0 and t[n - 1] in ends, e[:n], self.nucleus[i] if self.nucleus else None)
            for i, (t, p, e, n) in enumerate(rows)
        ]


class _Cached:
    """A :class:`Batch` with the model's own forward pass and cache."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], samples: int, new_tokens: int) -> None:
        self.model, device, width = model, model.device, max(map(len, prompts))
        # Padded on the left, so that the last column of every row predicts its first new token.
        padded = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
        real = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        positions = (real.cumsum(1) - 1).clamp(min=0)
        out = model(input_ids=padded, attention_mask=real, position_ids=positions, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        repeat_rows(self.cache, samples, new_tokens)
        self.logits = out.logits[:, -1].repeat_interleave(samples, 0)
        self.real = real.repeat_interleave(samples, 0)
        self.position = positions[:, -1:].repeat_interleave(samples, 0) + 1

    def keep(self, rows: Tensor) -> None:
        self.real, self.position = self.real[rows], self.position[rows]
        self.cache.batch_select_indices(rows)

    def step(self, tokens: Tensor) -> None:
        self.real = torch.cat([self.real, self.real.new_ones(len(tokens), 1)], 1)
        out = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.real,
            position_ids=self.position,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache, self.logits, self.position = out.past_key_values, out.logits[:, -1], self.position + 1
