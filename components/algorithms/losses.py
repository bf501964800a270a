"""Per-token losses, as pure functions on tensors. N is the number of completion tokens; the caller sums and normalises.

This is PPO's clipped surrogate with a token-level ratio, and its value loss. Sequence ratios (GSPO), dual clipping and
CISPO are not here.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOG_RATIO_BOUND = 20.0  # exp(20) is finite in fp32 and bf16; a token beyond it gives no gradient


class PolicyLoss(NamedTuple):
    """Clipped surrogate per token."""

    loss: Tensor  # [N]
    clipped: Tensor  # [N] bool: the clip removed the gradient


def clipped_policy_loss(
    log_probs: Float[Tensor, " N"],
    old_log_probs: Float[Tensor, " N"],
    advantages: Float[Tensor, " N"],
    clip: float,
) -> PolicyLoss:
    """-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) (PPO, arXiv:1707.06347)."""
    ratio = (log_probs - old_log_probs).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    unclipped = ratio * advantages
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantages
    return PolicyLoss(-torch.minimum(unclipped, bounded), bounded < unclipped)


def clipped_value_loss(
    values: Float[Tensor, " N"], old_values: Float[Tensor, " N"], returns: Float[Tensor, " N"], clip: float
) -> Float[Tensor, " N"]:
    """0.5 max((V - R)^2, (V_clipped - R)^2), V_clipped within ``clip`` of the old value."""
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (bounded - returns).square())


def masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean over the positions where ``mask`` is True; 0 where there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
