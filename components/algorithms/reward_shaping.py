"""Terms added to a reward before advantages: the overlong penalty, and the KL to the reference.

Notation: S completions, T token positions; ``mask`` is True on the tokens that count.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ratchet.components.algorithms.kl import k1


def overlong_penalty(lengths: Int[Tensor, " S"], max_tokens: int, buffer: int) -> Float[Tensor, " S"]:
    """DAPO's soft overlong punishment (arXiv:2503.14476): 0 up to max_tokens - buffer, then linear down to -1 at max_tokens.

    Args:
        buffer: tokens before the limit in which the penalty grows; at least 1. Example: limit 100, buffer 20, length 90: -0.5.
    """
    return (-(lengths - (max_tokens - buffer)) / buffer).clamp(-1.0, 0.0)


def kl_penalty(
    log_probs: Float[Tensor, "S T"], reference: Float[Tensor, "S T"], mask: Bool[Tensor, "S T"], coefficient: float
) -> Float[Tensor, "S T"]:
    """coefficient x k1 on each token that counts (Ziegler et al., arXiv:1909.08593); 0 elsewhere. Subtracted from the reward.

    Args:
        log_probs: of the policy that sampled, without gradient.
        coefficient: reward per nat.
    """
    return coefficient * torch.where(mask, k1(log_probs, reference), 0.0)


def on_last_token(totals: Float[Tensor, " S"], mask: Bool[Tensor, "S T"]) -> Float[Tensor, "S T"]:
    """Each completion's reward on the last of its tokens, 0 on the others; nothing where the mask is empty."""
    rewards = torch.zeros(mask.shape, dtype=totals.dtype)
    rows = mask.any(1).nonzero()[:, 0]
    rewards[rows, mask.sum(1)[rows] - 1] = totals[rows]  # own tokens stand first: the last is at their count - 1
    return rewards
