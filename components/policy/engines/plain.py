"""The engine for every model: the model's own forward pass and cache; finished sequences leave the batch.

Each prompt's key-value cache is computed once. A token is drawn by inverting the cumulative distribution at one uniform per
(sample, position), so that a completion depends only on the model, its prompt and its own counters.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.policy.engines.engine import Completion, SamplingSeed, SamplingSettings, check_room
from ratchet.components.policy.engines.roomy_cache import repeat_rows
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.sampler import Choice, choose


def generate(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
) -> list[list[Completion]]:
    """The rollout engine that only needs the policy's own forward pass, in its own precision."""
    with policy.autocast():
        return sample(policy.model, prompts, items, settings, seed, policy.ends)


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    ends: Sequence[int],
) -> list[list[Completion]]:
    """Sample completions for every prompt.

    Args:
        prompts: token ids, B non-empty prompts of any lengths.
        items: number of each prompt for its random counters, length B.
        ends: tokens that end a completion.

    Returns:
        B lists of ``settings.samples`` completions, in the order of the prompts.

    Raises:
        ModelError: if a completion could run past the model's context.
    """
    assert len(prompts) == len(items)
    check_room(model, prompts, settings)
    results: dict[int, list[Completion]] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    per_chunk = max(1, settings.rows_at_once // settings.samples)
    with torch.inference_mode():
        for start in range(0, len(by_length), per_chunk):
            chunk = by_length[start : start + per_chunk]
            rows = _sample_chunk(model, [prompts[i] for i in chunk], [items[i] for i in chunk], settings, seed, ends)
            for number, prompt in enumerate(chunk):
                results[prompt] = rows[number * settings.samples : (number + 1) * settings.samples]
    return [results[i] for i in range(len(prompts))]


def _sample_chunk(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    ends: Sequence[int],
) -> list[Completion]:
    device, k = model.device, settings.samples
    draws = seed.draws(items, settings).to(device)
    drawn = _Drawn(len(prompts) * k, settings, device)
    for position, (alive, logits) in enumerate(_decode(model, prompts, settings, drawn.tokens, ends)):
        drawn.note(alive, position, choose(logits, draws[alive, position], settings.temperature, settings.top_p))
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


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    tokens: Tensor,
    ends: Sequence[int],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (numbers of the live rows, their next-token logits) per position; the caller writes ``tokens`` in between."""
    device = model.device
    width = max(map(len, prompts))
    # Padded on the left, so that the last column of every row predicts its first new token.
    padded = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    real = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=padded, attention_mask=real, position_ids=positions, use_cache=True, logits_to_keep=1)
    cache = out.past_key_values
    repeat_rows(cache, settings.samples, settings.max_new_tokens)
    logits = out.logits[:, -1].repeat_interleave(settings.samples, 0)
    real = real.repeat_interleave(settings.samples, 0)
    next_position = positions[:, -1:].repeat_interleave(settings.samples, 0) + 1
    alive = torch.arange(len(tokens), device=device)
    last = torch.tensor(ends, dtype=torch.long, device=device)
    for position in range(settings.max_new_tokens):
        yield alive, logits
        # Waits for the device at every token; the slots engine reads finished rows every few steps.
        keep = (tokens[alive, position, None] != last).all(-1).nonzero()[:, 0]
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
