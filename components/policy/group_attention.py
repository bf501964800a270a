"""Attention of a flat row on a CPU, whose cost grows with a group's tokens, not with their square.

Each prompt and each completion attends to itself, in batches of similar lengths; then the completions of a group attend to its
prompt, all at once. Attentions of one query over two sets of keys, with log-sum-exps a and b, join to one: its log-sum-exp is
``logaddexp(a, b)``, and the second's output has the weight ``sigmoid(b - a)`` (FlashAttention, arXiv:2205.14135, section 3.1).
The backward pass of each of them, given the joint output and log-sum-exp, is its share of the gradient.

Notation: N tokens of the row, H heads, D values per head, B sequences of at most L tokens.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

PADDED = 1.25  # a batch's longest sequence over its shortest, at most

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Batch(NamedTuple):
    """Sequences of similar lengths that attend to themselves."""

    tokens: Tensor  # [B * L] long: of the row; a sequence's last one stands for what is after it
    beyond: Tensor  # [B, 1, L]: after the sequence's end
    inside: Tensor | None  # [n] long: the places of ``tokens`` that are before it, if not all are

    def split(self, x: Tensor) -> Tensor:
        """[N, H, D] as [B, H, L, D]."""
        sequences, _, longest = self.beyond.shape
        return x.index_select(0, self.tokens).view(sequences, longest, *x.shape[1:]).transpose(1, 2)

    def put(self, x: Tensor, values: Tensor) -> None:
        """Set the sequences' tokens of [N, H, D] to [B, H, L, D]."""
        tokens, values = self.tokens, values.transpose(1, 2).flatten(0, 1)
        if self.inside is not None:
            tokens, values = tokens[self.inside], values.index_select(0, self.inside)
        x.index_copy_(0, tokens, values)


class Prompt(NamedTuple):
    """A prompt's tokens of the row and those of all its completions."""

    own: slice
    completions: slice


class Structure(NamedTuple):
    """What attends to what in a flat row."""

    batches: Sequence[Batch]
    prompts: Sequence[Prompt]
    end: int  # tokens of all groups; the row may have more, of padding

    def empty_like(self, x: Tensor) -> Tensor:
        """Of the shape of [N, H, D], and zero at the padding."""
        made = torch.empty_like(x)
        made[self.end :] = 0
        return made


def structure_of(groups: Sequence[Sequence[int]]) -> Structure:
    """The structure of groups, each the lengths of its prompt and its completions. One with one completion is one sequence."""
    starts = list(accumulate(map(sum, groups), initial=0))
    sequences: list[tuple[int, int]] = []  # length, start
    prompts = []
    for start, end, lengths in zip(starts, starts[1:], groups, strict=False):
        parts = [end - start] if len(lengths) == 2 else lengths
        sequences += zip(parts, accumulate(parts, initial=start), strict=False)
        if len(parts) > 1:
            prompts.append(Prompt(slice(start, start + parts[0]), slice(start + parts[0], end)))
    return Structure(list(_batches(sorted(sequences))), prompts, starts[-1])


def _batches(sequences: Sequence[tuple[int, int]]) -> Iterator[Batch]:
    """Of (length, start), shortest first."""
    first = 0
    for number in range(1, len(sequences) + 1):
        if number == len(sequences) or sequences[number][0] > PADDED * sequences[first][0]:
            yield _batch(torch.tensor(sequences[first:number]))
            first = number


def _batch(sequences: Tensor) -> Batch:
    lengths, starts = sequences[:, :1], sequences[:, 1:]
    places = torch.arange(int(lengths.max()))
    beyond = places >= lengths
    inside = (~beyond).flatten().nonzero()[:, 0] if beyond.any() else None
    return Batch((starts + places.minimum(lengths - 1)).flatten(), beyond[:, None], inside)


def attend_in_groups(query: Tensor, key: Tensor, value: Tensor, structure: Structure, scale: float | None = None) -> Tensor:
    """The attention's output [N, H, D]; zero at tokens that are in no group.

    It computes in fp32 also where the values are bf16: torch's backward pass in bf16 is slower.

    Args:
        query: [N, H, D].
        key: [N, H', D], where H' divides H; and so ``value``.
        scale: of the scores; 1 / sqrt(D) if None.
    """
    repeats, dtype = query.shape[1] // key.shape[1], torch.promote_types(value.dtype, torch.float32)
    heads = (query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1))
    out = _GroupAttention.apply(*(x.to(dtype) for x in heads), structure, scale)  # type: ignore[no-untyped-call]
    return cast(Tensor, out).to(value.dtype)


class _GroupAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, structure: Structure, scale: float | None) -> Tensor:
        out, log_sums = structure.empty_like(query), query.new_empty(*query.shape[:2], 1)
        for batch in structure.batches:
            found, sums = _forward(*(batch.split(x) for x in (query, key, value)), 0.0, True, scale=scale)
            batch.put(out, found)
            batch.put(log_sums, sums[..., None])
        for own, completions in structure.prompts:
            found, sums = _forward(*_heads(query[completions], key[own], value[own]), 0.0, False, scale=scale)
            _join(out[completions], log_sums[completions], found[0].transpose(0, 1), sums[0].T[..., None])
        ctx.save_for_backward(query, key, value, out, log_sums)
        ctx.rest = (structure, scale)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, log_sums = ctx.saved_tensors
        structure, scale = ctx.rest
        gradients = [structure.empty_like(x) for x in (query, key, value)]
        for batch in structure.batches:
            # Where the log-sum-exp is infinite every weight is zero: what is beyond an end adds nothing to any gradient.
            sums = batch.split(log_sums)[..., 0].masked_fill(batch.beyond, torch.inf)
            given = [batch.split(x) for x in (upstream, query, key, value, out)]
            for gradient, share in zip(gradients, _backward(*given, sums, 0.0, True, scale=scale), strict=True):
                batch.put(gradient, share)
        for own, completions in structure.prompts:
            places = (completions, completions, own, own, completions)
            given = _heads(*(x[place] for x, place in zip((upstream, query, key, value, out), places, strict=True)))
            shares = _backward(*given, log_sums[completions, :, 0].T[None], 0.0, False, scale=scale)
            for gradient, share, place in zip(gradients, shares, (completions, own, own), strict=True):
                gradient[place] += share[0].transpose(0, 1)
        return (*gradients, None, None)


def _heads(*given: Tensor) -> list[Tensor]:
    """One sequence each: [n, H, D] as [1, H, n, D]."""
    return [x.transpose(0, 1)[None] for x in given]


def _join(out: Tensor, log_sums: Tensor, found: Tensor, sums: Tensor) -> None:
    """Join the attention over more keys, ``found`` [n, H, D] and ``sums`` [n, H, 1], to what is there, in place."""
    out.lerp_(found, torch.sigmoid(sums - log_sums))
    torch.logaddexp(log_sums, sums, out=log_sums)
