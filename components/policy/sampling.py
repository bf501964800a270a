"""Roll out completions: each prompt's key-value cache is computed once, finished sequences leave the batch.

A token is drawn by inverting the cumulative distribution at one uniform per (sample, position), so that a completion
depends only on the model, its prompt and its own counters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.randomness import uniforms


@dataclass(frozen=True)
class Completion:
    """One sampled completion; ``tokens`` ends with end-of-sequence unless it was cut at the limit."""

    tokens: list[int]
    log_probs: list[float]  # of the sampler, at its temperature, one per token
    finished: bool


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn; temperature 0 is greedy."""

    samples: int
    max_new_tokens: int
    temperature: float = 1.0
    rows_at_once: int = 512


@dataclass(frozen=True)
class SamplingSeed:
    """Names the draws: (run seed, purpose, step); prompt and sample numbers are added per row."""

    seed: int
    purpose: str
    step: int = 0


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
    """
    assert len(prompts) == len(items)
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
    count = len(prompts) * k
    tokens = torch.full((count, settings.max_new_tokens), end_of_sequence, device=device)
    log_probs = torch.zeros(count, settings.max_new_tokens, device=device)
    lengths = torch.zeros(count, dtype=torch.long, device=device)
    for position, (alive, logits) in enumerate(_decode(model, prompts, settings, tokens, end_of_sequence)):
        chosen, chosen_log_probs = choose(logits, draws[alive, position], settings.temperature)
        tokens[alive, position] = chosen
        log_probs[alive, position] = chosen_log_probs
        lengths[alive] = position + 1
    return [
        Completion(t[:n], p[:n], n > 0 and t[n - 1] == end_of_sequence)
        for t, p, n in zip(tokens.tolist(), log_probs.tolist(), lengths.tolist(), strict=True)
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
    padded = torch.tensor([[end_of_sequence] * (width - len(p)) + list(p) for p in prompts], device=device)
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


def choose(logits: Tensor, draws: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Next tokens and their log-probs.

    Args:
        logits: [B, V].
        draws: uniforms in [0, 1), [B]; token v is chosen where the cumulative distribution first exceeds the draw.
        temperature: 0 takes the most likely token.

    Returns:
        Tokens [B] and their log-probs [B] (at temperature 1 when greedy).
    """
    log_softmax = (logits.float() / (temperature or 1.0)).log_softmax(-1)
    if temperature == 0:
        chosen = log_softmax.argmax(-1)
    else:
        cumulative = log_softmax.double().exp().cumsum(-1)
        threshold = draws.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return chosen, log_softmax.gather(-1, chosen[:, None])[:, 0]
