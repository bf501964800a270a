"""Estimators of KL(policy || reference) from the policy's own samples (Schulman 2020), per token.

With d = log policy - log reference on a token that the policy sampled: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d.
k1 and k3 are unbiased in value. As a loss, k2 has the gradient of the KL; k1's expected gradient is zero and k3's is that
of the reverse direction, so only k2 is used in a loss and only k1 in a reward.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BOUND = 20.0


def k1(log_probs: Float[Tensor, "..."], reference: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """d; unbiased, of either sign."""
    return log_probs - reference


def k2(log_probs: Float[Tensor, "..."], reference: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """d^2 / 2; its gradient is an unbiased estimate of the KL's (on-policy)."""
    return 0.5 * (log_probs - reference).square()


def k3(log_probs: Float[Tensor, "..."], reference: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """exp(-d) - 1 + d; unbiased, never negative."""
    difference = (reference - log_probs).clamp(-BOUND, BOUND)
    return torch.expm1(difference) - difference
