"""Scores of sequences that begin alike: what they share is computed once.

A pair of answers shares its prompt, and so do a group's samples. Packed, with a prompt's tokens once per group, a training step
of a reward model takes 0.6 of the time that padded sequences take (prompts of 29 tokens, answers of 13; two CPU cores).
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ratchet.components.policy.packing import Group, PackedRows, pack

MOST, MOST_TOKENS = 16, 1024  # per group: a longer row's mask would cost more than the shared tokens save
CLOSE = 1e-3

_log = logging.getLogger(__name__)


def prefix_groups(sequences: Sequence[Sequence[int]]) -> list[tuple[Group, list[int]]]:
    """Groups of sequences that share at least half of the first one, and then half of what the first two share; their numbers.

    Args:
        sequences: of two tokens or more; each keeps at least its last one.
    """
    found = []
    for numbers, shared in _runs(sequences, sorted(range(len(sequences)), key=lambda i: list(sequences[i]))):
        first = sequences[numbers[0]]
        found.append((Group(first[:shared], [sequences[i][shared:] for i in numbers]), numbers))
    return found


def _runs(sequences: Sequence[Sequence[int]], order: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Runs of sequences in lexicographic order, and how many tokens all of a run share."""
    numbers: list[int] = []
    shared = least = tokens = 0
    for i in order:
        common, length = _common(sequences[numbers[0]], sequences[i]) if numbers else 0, len(sequences[i])
        if common and common >= least and len(numbers) < MOST and tokens + length - common <= MOST_TOKENS:
            least = least if len(numbers) > 1 else common // 2  # of what the first two share
            numbers, shared, tokens = [*numbers, i], min(shared, common), tokens + length - common
            continue
        if numbers:
            yield numbers, shared
        numbers, shared, least, tokens = [i], length - 1, length // 2, length
    if numbers:
        yield numbers, shared


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens at which both begin alike, without the last of either."""
    most = min(len(first), len(second)) - 1
    return next((n for n in range(most) if first[n] != second[n]), most)


def packed_scores(model: Any, sequences: Sequence[Sequence[int]], pad: int, together: int = 256) -> Tensor:
    """Logits [B] of a decoder with a score head, in the order of the sequences.

    Args:
        together: sequences per pass, and at most a group more.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model  # within an adapter
    groups = prefix_groups(sequences)
    scores = torch.cat([_scores(model, part, pad) for part in _parts([group for group, _ in groups], together)])
    order = torch.tensor([i for _, numbers in groups for i in numbers], device=scores.device)
    return scores[order.argsort()]  # the argsort of a permutation is its inverse


def _parts(groups: Sequence[Group], together: int) -> Iterator[list[Group]]:
    part: list[Group] = []
    for group in groups:
        part.append(group)
        if sum(len(one.completions) for one in part) >= together:
            yield part
            part = []
    if part:
        yield part


def _scores(model: Any, groups: Sequence[Group], pad: int) -> Tensor:
    rows = pack(groups)
    places = _last(rows, pad)
    rows, places = rows.to(model.device), places.to(model.device)
    mask = rows.attention_for(model.config, model.dtype)
    out = model.base_model(input_ids=rows.tokens, position_ids=rows.positions, attention_mask=mask, use_cache=False)
    scores: Tensor = model.score(out.last_hidden_state[places[0], places[1]])[:, 0]
    return scores.float()


def _last(rows: PackedRows, pad: int) -> Tensor:
    """Row and column of each sequence's last token, [2, S]; before padding, which may be what a turn ends with."""
    begins = (rows.index == 0).nonzero()[:, 0]
    first = torch.empty_like(begins).scatter_(0, rows.sequence[begins], begins)
    kept = rows.targets != pad
    last = torch.full_like(first, -1).scatter_reduce_(0, rows.sequence[kept], rows.index[kept], "amax")
    at = first + last.clamp(min=0)
    columns = torch.where(last < 0, rows.predictor_column[at], rows.target_column[at])  # else the last one that is shared
    return torch.stack([rows.target_row[at], columns])


def can_pack(model: PreTrainedModel, padded: Tensor, sequences: Sequence[Sequence[int]], pad: int) -> bool:
    """Whether this model gives packed sequences the scores that it gave padded ones."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(base, "_supports_attention_backend", False):
        _log.info("sequences are scored padded: attention of a %s may go by columns", type(base).__name__)
        return False
    try:
        close = bool(torch.allclose(packed_scores(model, sequences, pad), padded, atol=CLOSE, rtol=CLOSE))
    except Exception as error:  # of the model's own code, which may not take such arguments
        _log.info("sequences are scored padded: %s", error)
        return False
    if not close:
        _log.info("sequences are scored padded: packed ones get other scores from a %s", type(model).__name__)
    return close
