"""Advantages, as pure functions on tensors.

Conventions: B completions, G groups of k completions, T token positions. ``response_mask`` is True where a token is the
policy's own. Standard deviations use ddof=1 and ``EPSILON`` is added to them. A group whose rewards are all equal has no
signal: that is decided by exact equality, never by a computed standard deviation.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 1e-6


def group_advantages(rewards: Float[Tensor, "G k"]) -> Float[Tensor, "G k"]:
    """Group-relative advantages: (r - mean) / (std + EPSILON) within each group (GRPO, arXiv:2402.03300).

    A missing reward (NaN) is left out of its group's statistics and gets advantage 0; so does a group with fewer than two
    rewards, or with equal ones.
    """
    present = ~rewards.isnan()
    count = present.sum(1, keepdim=True)
    values = torch.where(present, rewards, 0.0)
    centred = torch.where(present, rewards - values.sum(1, keepdim=True) / count.clamp(min=1), 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return torch.where(present & has_signal(rewards)[:, None], centred / (deviation + EPSILON), 0.0)


def has_signal(rewards: Float[Tensor, "G k"]) -> Bool[Tensor, " G"]:
    """True for groups in which at least two present rewards differ."""
    highest = torch.where(rewards.isnan(), -torch.inf, rewards).amax(1)
    lowest = torch.where(rewards.isnan(), torch.inf, rewards).amin(1)
    return highest > lowest


class ValueTargets(NamedTuple):
    """What generalised advantage estimation gives."""

    advantages: Tensor  # [B, T]
    returns: Tensor  # [B, T], advantages + values before any whitening


def generalised_advantages(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    response_mask: Bool[Tensor, "B T"],
    gamma: float,
    lam: float,
) -> ValueTargets:
    """GAE (arXiv:1506.02438): delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}.

    The value after the last token is 0. Masked positions are skipped: the next value and advantage are carried over them,
    whatever they hold, and their own advantage and return are 0.
    """
    advantages = torch.zeros_like(rewards)
    next_value = torch.zeros_like(rewards[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in reversed(range(rewards.shape[1])):
        own = response_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        next_value = torch.where(own, values[:, t], next_value)
        next_advantage = torch.where(own, advantage, next_advantage)
        advantages[:, t] = torch.where(own, advantage, 0.0)
    return ValueTargets(advantages, torch.where(response_mask, advantages + values, 0.0))


def whiten(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """(x - mean) / sqrt(var + 1e-8) over the positions where ``mask`` is True (var with ddof=1); 0 elsewhere."""
    kept = values[mask]
    if kept.numel() < 2:
        return torch.zeros_like(values)
    variance, mean = torch.var_mean(kept)
    return torch.where(mask, (values - mean) * torch.rsqrt(variance + 1e-8), 0.0)


def explained_variance(returns: Float[Tensor, " N"], values: Float[Tensor, " N"]) -> float:
    """1 - var(returns - values) / var(returns); 0 where the returns do not vary."""
    variance = returns.var() if returns.numel() > 1 else torch.zeros(())
    return float(1 - (returns - values).var() / variance) if variance > 0 else 0.0
