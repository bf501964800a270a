"""Log-probs of tokens on a CPU for heads whose logits are many: in blocks of tokens and of the vocabulary that fit its cache.

The normaliser is a running sum over the blocks (online softmax, Milakov and Gimelshein 2018, arXiv:1805.02867); the backward
pass makes each block's logits once more. Tiles of whole rows of a large vocabulary would be read from memory at every step of
the softmax.

Notation: N tokens, V the vocabulary, a block of n tokens and v ids.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ratchet.components.policy.logits import LogitTransform, as_multiplied, shaped, tiles

ROWS, BLOCK = 2048, 2**22  # tokens, and logits (16 MiB in fp32), of a block


class _Head(NamedTuple):
    """What a head is multiplied from."""

    weight: Tensor  # [V, width]
    bias: Tensor | None  # [V]
    shape: LogitTransform

    def blocks(self, rows: int) -> Iterator[slice]:
        """Runs of ids, for so many tokens."""
        size = max(1, min(BLOCK, self.shape.tile) // rows)
        return (slice(start, min(start + size, len(self.weight))) for start in range(0, len(self.weight), size))

    def logits(self, hidden: Tensor, ids: slice) -> tuple[Tensor, Tensor | None]:
        """A block of shaped logits [n, v]."""
        return shaped(nn.functional.linear(hidden, self.weight[ids], None if self.bias is None else self.bias[ids]), self.shape)


class BlockedLogProbs(torch.autograd.Function):
    """Log-softmax of the head's product at the targets, [N] fp32.

    The arguments are those of :func:`ratchet.components.policy.log_probs.target_log_probs`, without a nucleus.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, shape: LogitTransform
    ) -> Tensor:
        low, weight_low, bias_low = as_multiplied(hidden, weight, bias)
        head, rows = _Head(weight_low, bias_low, shape), _rows(len(targets), shape)
        with torch.autocast("cpu", enabled=False):
            parts = [_scores(head, low[at], targets[at]) for at in rows]
        normaliser, chosen = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(low, weight_low, bias_low, targets, normaliser)
        ctx.rest = shape, rows, hidden.dtype, weight.dtype
        log_probs: Tensor = chosen - normaliser
        return log_probs

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normaliser = ctx.saved_tensors
        shape, rows, hidden_dtype, weight_dtype = ctx.rest
        wanted, head = ctx.needs_input_grad[:3], _Head(weight, bias, shape)
        given = (hidden, weight, bias)
        to_hidden, to_weight, to_bias = (torch.zeros(x.shape) if want else None for x, want in zip(given, wanted, strict=True))
        for at in rows:
            for ids in head.blocks(at.stop - at.start):
                gradient = _logit_gradient(head, hidden[at], ids, targets[at], normaliser[at], upstream[at])
                if to_hidden is not None:
                    to_hidden[at] += gradient @ weight[ids]
                if to_weight is not None:
                    to_weight[ids] += gradient.T @ hidden[at]
                if to_bias is not None:
                    to_bias[ids] += gradient.sum(0, dtype=torch.float32)
        found = ((to_hidden, hidden_dtype), (to_weight, weight_dtype), (to_bias, weight_dtype))
        return (*(None if x is None else x.to(dtype) for x, dtype in found), None, None)


def _rows(tokens: int, shape: LogitTransform) -> list[slice]:
    return tiles(tokens, 1, min(ROWS, shape.tile))


def _scores(head: _Head, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of each token's normaliser, and the logit of its target, [n]."""
    highest, total = torch.full(targets.shape, -torch.inf), torch.zeros(targets.shape)
    chosen = torch.zeros(targets.shape)
    for ids in head.blocks(len(targets)):
        logits = head.logits(hidden, ids)[0]
        at = _tokens_in(targets, ids)
        chosen[at] = logits[at, targets[at] - ids.start]
        before, highest = highest, torch.maximum(highest, logits.amax(1))
        total = total * (before - highest).exp() + (logits - highest[:, None]).exp_().sum(1)
    return highest + total.log(), chosen


def _logit_gradient(head: _Head, hidden: Tensor, ids: slice, targets: Tensor, normaliser: Tensor, upstream: Tensor) -> Tensor:
    """Gradient of sum(upstream * log-probs) with respect to a block of logits: upstream * (one-hot - softmax), [n, v]."""
    logits, bent = head.logits(hidden, ids)
    scale = upstream.float() / head.shape.temperature
    gradient: Tensor = (logits - normaliser[:, None]).exp_().mul_(-scale[:, None])
    at = _tokens_in(targets, ids)
    gradient[at, targets[at] - ids.start] += scale[at]
    if bent is not None:
        gradient.mul_(1 - bent.square())
    return gradient.to(hidden.dtype)


def _tokens_in(targets: Tensor, ids: slice) -> Tensor:
    """Numbers of the tokens whose target is in a block."""
    inside: Tensor = (targets >= ids.start) & (targets < ids.stop)
    return inside.nonzero()[:, 0]
