"""Per-token losses, and the normalisers that reduce them: pure functions on tensors.

Notation: N completion tokens of S completions, concatenated; ``sequence`` numbers each token's completion; T positions of the
longest. An importance ratio is policy / old policy on the token that was sampled; ``log_ratio`` is its logarithm.

A loss is sum(weight x per-token loss). The weights use the whole minibatch, so the sum does not depend on how it is
split into micro-batches, nor on padding. Completions without an own token (masked out) do not count.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LOG_RATIO_BOUND = 20.0  # exp(20) is finite in fp32 and bf16; a token beyond it gives no gradient


class PolicyLoss(NamedTuple):
    """A surrogate per token, and the tokens whose gradient its clip removed."""

    loss: Tensor  # [N]
    clipped_low: Tensor  # [N] bool: ratio below the range, advantage negative
    clipped_high: Tensor  # [N] bool: ratio above the range, advantage positive; or beyond a dual clip


def sequence_log_ratio(
    log_ratio: Float[Tensor, " N"],
    own: Bool[Tensor, " N"],
    sequence: Int[Tensor, " N"],
    mean: bool,
) -> Float[Tensor, " N"]:
    """One log-ratio per completion, on each of its tokens.

    Args:
        own: True where a token counts.
        mean: the mean over a completion's own tokens (GSPO, arXiv:2507.18071), else their sum: the whole completion's
            importance weight (RLOO, arXiv:2402.14740).
    """
    size = int(sequence.max()) + 1 if len(sequence) else 0  # waits for the device
    sums = log_ratio.new_zeros(size).index_add(0, sequence, torch.where(own, log_ratio, 0.0))
    if mean:
        counts = log_ratio.new_zeros(size).index_add(0, sequence, own.to(log_ratio.dtype))
        sums = sums / counts.clamp(min=1)
    return sums[sequence]


def clipped_policy_loss(
    log_ratio: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """-min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A) (PPO, arXiv:1707.06347; clip-higher: DAPO, arXiv:2503.14476).

    Args:
        dual_clip: for negative advantages the loss is at most -dual_clip A (arXiv:1912.09729); above 1.
    """
    ratio = log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * advantages, bounded * advantages)
    clipped_low = (ratio < 1 - clip_low) & (advantages < 0)
    clipped_high = (ratio > 1 + clip_high) & (advantages > 0)
    if dual_clip is not None:
        beyond = (advantages < 0) & (ratio > dual_clip)
        objective = torch.where(beyond, dual_clip * advantages, objective)
        clipped_high = clipped_high | beyond
    return PolicyLoss(-objective, clipped_low, clipped_high)


def cispo_loss(
    log_probs: Float[Tensor, " N"],
    log_ratio: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    clip_low: float,
    clip_high: float,
) -> PolicyLoss:
    """-stop_gradient(clip(ratio, 1 - clip_low, 1 + clip_high)) A log_probs (CISPO, arXiv:2506.13585).

    Every token keeps a gradient; the clip only bounds its weight, so "clipped" here means bounded. ``clip_low`` of 1 means no
    lower bound. Both are relative to 1: the ``epsilon_high`` of TRL is 1 + ours.
    """
    ratio = log_ratio.detach().clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    weight = ratio.clamp(1 - clip_low, 1 + clip_high)
    return PolicyLoss(-weight * advantages * log_probs, ratio < 1 - clip_low, ratio > 1 + clip_high)


def truncated_importance_weights(
    log_probs: Float[Tensor, "..."], sampler_log_probs: Float[Tensor, "..."], cap: float
) -> Float[Tensor, "..."]:
    """min(exp(log_probs - sampler_log_probs), cap): corrects for a sampler that is another engine than the trainer.

    Both use the weights that sampled (Espeholt et al., arXiv:1802.01561, V-trace's truncation; without gradient).
    """
    return (log_probs - sampler_log_probs).detach().clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp().clamp(max=cap)


def clipped_value_loss(
    values: Float[Tensor, " N"],
    old_values: Float[Tensor, " N"],
    returns: Float[Tensor, " N"],
    clip: float | None,
) -> Float[Tensor, " N"]:
    """0.5 max((V - R)^2, (V_clipped - R)^2), V_clipped within ``clip`` of the old value; without a clip 0.5 (V - R)^2.

    From PPO's first implementation rather than its paper (OpenAI Baselines; Engstrom et al., arXiv:2005.12729, section 3).
    """
    squared = (values - returns).square()
    if clip is None:
        return 0.5 * squared
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum(squared, (bounded - returns).square())


def token_weights(mask: Bool[Tensor, "S T"], normaliser: str, max_tokens: int) -> Float[Tensor, "S T"]:
    """Weights [S, T], zero where ``mask`` is False.

    Args:
        mask: True on the own tokens of a minibatch's S completions.
        normaliser: ``sequence_mean``: the mean over completions of their token means (GRPO, arXiv:2402.03300);
            ``token_mean``: the mean over all tokens (DAPO, arXiv:2503.14476); ``constant``: the sum over completions and
            tokens, divided by completions x ``max_tokens`` (Dr. GRPO, arXiv:2503.20783).
        max_tokens: largest number of tokens a completion may have.
    """
    weights = mask.float()
    lengths = weights.sum(1, keepdim=True)
    completions = (lengths > 0).sum().clamp(min=1)
    if normaliser == "token_mean":
        return weights / lengths.sum().clamp(min=1)
    if normaliser == "sequence_mean":
        return weights / (lengths.clamp(min=1) * completions)
    assert normaliser == "constant"
    return weights / (completions * max_tokens)


def masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean over the positions where ``mask`` is True; 0 if there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
