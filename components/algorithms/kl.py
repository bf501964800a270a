"""Estimators of KL(policy || reference) from the policy's own samples, per token (Schulman 2020, Approximating KL Divergence).

With d = log policy - log reference on a token that the policy sampled: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d.
k1 and k3 are unbiased in value. Their gradients differ (arXiv:2506.09477, arXiv:2512.21852): differentiated as a
loss, k2 gives the KL's gradient, k1 gives zero in expectation, and k3 alone gives that of the reverse KL. So a reward
uses k1, and a loss uses k2, or k3 times the importance ratio, whose derivative adds k3's missing score term. k1 enters in
``algorithms/reward_shaping.py``, k2 and k3 in ``training/objectives.py``.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BOUND = 20.0  # of d, in nats: exp(20) is finite in fp32 and bf16
ADAPTIVE_CLIP = 0.2


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


def weighted_k3(
    log_probs: Float[Tensor, "..."], old_log_probs: Float[Tensor, "..."], reference: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """ratio x k3, ratio = exp(log_probs - old_log_probs): unbiased in value and in gradient, for samples of the old policy.

    At ratio one its gradient is that of k3 plus k3 times the score, the form with the score term (NeMo RL, TRL's
    ``use_bias_correction_kl``).
    """
    ratio = (log_probs - old_log_probs).clamp(-BOUND, BOUND).exp()
    return ratio * k3(log_probs, reference)


def adapted_coefficient(coefficient: float, divergence: float, target: float, samples: int, horizon: int) -> float:
    """The adaptive KL coefficient of Ziegler et al. (arXiv:1909.08593) after one batch.

    coefficient x (1 + clip(divergence / target - 1, -0.2, 0.2) x min(1, samples / horizon)); it stays above zero.

    Args:
        divergence, target: nats per completion (the sum over its tokens), divergence averaged over the batch.
        samples: completions in the batch.
        horizon: completions over which an error of 20% moves the coefficient by 20%.
    """
    error = min(ADAPTIVE_CLIP, max(-ADAPTIVE_CLIP, divergence / target - 1))
    return coefficient * (1 + error * min(1.0, samples / horizon))
