"""Draw next tokens by inverting the cumulative distribution at one uniform per row, independently of other rows.

Two passes: the probability of blocks of the vocabulary, then the tokens of one block. Running sums are fp64, over a few
hundred numbers per row: fp32 over a whole vocabulary of 150,000 loses 1e-5 at its end, fp64 over it costs more than the model.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 512  # tokens
SMALL = 1024  # a smaller vocabulary does not need two passes
LIKELY = 1024  # tokens
CERTAIN = 1 - 2**-50  # no draw reaches the total probability


class Choice(NamedTuple):
    """Next tokens of B rows."""

    tokens: Tensor  # [B] long
    log_probs: Tensor  # [B]
    entropies: Tensor  # [B], nats
    kept: Tensor | None  # [B, V] bool: the tokens that top-p kept; None if it kept all


def choose(logits: Tensor, draws: Tensor, temperature: float, top_p: float = 1.0) -> Choice:
    """Draw next tokens.

    Args:
        logits: [B, V].
        draws: uniforms in [0, 1), [B]; token v is the first at which the cumulative distribution exceeds the draw.
        temperature: 0 takes the most likely token, whose log-prob is that at temperature 1.
        top_p: only the most likely tokens are drawn from, as few as reach this probability together (arXiv:1904.09751).
    """
    logits = logits.float()
    if temperature not in (0, 1):
        logits = logits / temperature
    kept = None
    if top_p < 1 and temperature:
        kept = nucleus_of(logits.log_softmax(-1), top_p)
        logits = logits.masked_fill(~kept, -torch.inf)
    return _choose(logits, draws, kept, greedy=temperature == 0)


def _choose(logits: Tensor, draws: Tensor, kept: Tensor | None, greedy: bool) -> Choice:
    highest = logits.amax(-1, keepdim=True)
    below = (logits - highest).clamp(min=-1e4)  # finite for impossible tokens, because 0 x inf is NaN
    weights = below.exp()
    sums = _block_sums(weights)
    total = sums.sum(-1)
    tokens = logits.argmax(-1) if greedy else _invert(weights, sums, draws.double())
    normaliser = total.log()
    entropies = normaliser - (weights * below).sum(-1).double() / total
    log_probs = (logits.gather(-1, tokens[:, None]) - highest)[:, 0].double() - normaliser
    return Choice(tokens, log_probs.float(), entropies.float().clamp(min=0), kept)


def _block_sums(weights: Tensor) -> Tensor:
    """Sums of blocks of a row, the last one shorter, [B, ceil(V / BLOCK)] fp64."""
    whole = weights.shape[-1] // BLOCK * BLOCK
    parts = [weights[:, :whole].view(len(weights), -1, BLOCK).sum(-1)] if whole else []
    if whole < weights.shape[-1]:
        parts.append(weights[:, whole:].sum(-1, keepdim=True))
    return torch.cat(parts, -1).double()


def _invert(weights: Tensor, sums: Tensor, draws: Tensor) -> Tensor:
    """The first token whose running sum of weights exceeds the draw's share of the total, [B]."""
    vocabulary = weights.shape[-1]
    if vocabulary <= SMALL:
        return _first_above(_running_sums(weights.double()), weights, draws)
    running = _running_sums(sums)
    block = _first_above(running, sums, draws)[:, None]
    before = (running.gather(-1, block) - sums.gather(-1, block))[:, 0]
    places = block * BLOCK + torch.arange(BLOCK, device=block.device)
    inside = weights.gather(-1, places.clamp(max=vocabulary - 1)).double() * (places < vocabulary)
    share = (draws * running[:, -1] - before) / inside.sum(-1)
    return block[:, 0] * BLOCK + _first_above(_running_sums(inside), inside, share)


def _first_above(running: Tensor, weights: Tensor, shares: Tensor) -> Tensor:
    """The first place of each row that has weight and whose running sum exceeds ``shares`` [B] of the row's total, [B]."""
    wanted = shares.clamp(max=CERTAIN)[:, None] * running[:, -1:]
    return ((running > wanted) & (weights > 0)).int().argmax(-1)


def _running_sums(values: Tensor) -> Tensor:
    """cumsum(-1) of [B, n] fp64; on CUDA as a product, because cumsum has no deterministic kernel there."""
    if values.device.type == "cpu":
        return values.cumsum(-1)
    size = values.shape[-1]
    return values @ torch.ones(size, size, dtype=values.dtype, device=values.device).triu()


def nucleus_of(log_probs: Tensor, top_p: float) -> Tensor:
    """[B, V] bool: the smallest set of most likely tokens whose probabilities reach ``top_p``; never empty.

    Ties go to the first tokens.
    """
    probabilities = log_probs.exp()
    least = _least_of_likely(probabilities, top_p)
    if least is None:
        least = _least_of_all(probabilities, top_p)
    above, tied = probabilities > least, probabilities == least
    missing = top_p - _block_sums(probabilities * above).sum(-1, keepdim=True)
    count = (missing / least.double()).ceil().clamp(min=1)  # ties with the last one
    return above | (tied & (tied.cumsum(-1) <= count))


def _least_of_likely(probabilities: Tensor, top_p: float) -> Tensor | None:
    """The probability of the nucleus's least likely token, [B, 1], from the most likely tokens; None if too few."""
    ordered = probabilities.topk(min(LIKELY, probabilities.shape[-1])).values
    reached = ordered.double().cumsum(-1)
    if ordered.shape == probabilities.shape or bool((reached[:, -1] >= top_p).all()):
        return ordered.gather(-1, (reached < top_p).sum(-1, keepdim=True).clamp(max=ordered.shape[-1] - 1))
    return None


def _least_of_all(probabilities: Tensor, top_p: float) -> Tensor:
    """The same without a sort: by bisection of a float's bits, whose order as integers is that of the numbers."""
    bits = probabilities.view(torch.int32)
    low, high = torch.zeros_like(bits[:, :1]), bits.amax(-1, keepdim=True) + 1
    for _ in range(30):  # bits of a float of at most 1
        middle = low + (high - low) // 2
        enough = _block_sums(probabilities * (bits >= middle)).sum(-1, keepdim=True) >= top_p
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return low.view(torch.float32)
