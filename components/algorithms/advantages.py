"""Advantages, as pure functions on tensors.

Conventions: B completions, G groups of k completions, T token positions. ``response_mask`` is True if a token is the
policy's own. Standard deviations use ddof=1 and ``EPSILON`` is added to them. A missing reward is NaN: it is left out of
every statistic and its advantage is 0. Equal rewards carry no signal: equality is tested exactly, never
through a computed standard deviation, and their advantages are exactly 0. Everything is computed in float64 and returned in the
input's type: in float32 the squares of large rewards overflow, and small differences of large ones are lost.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 1e-6


def zero_variance(rewards: Float[Tensor, "G k"]) -> Bool[Tensor, " G"]:
    """True for groups in which no two present rewards differ, which DAPO's dynamic sampling discards (arXiv:2503.14476)."""
    highest = torch.where(rewards.isnan(), -torch.inf, rewards).amax(1)
    lowest = torch.where(rewards.isnan(), torch.inf, rewards).amin(1)
    return highest <= lowest


def _masked(rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards in float64 with 0 for missing ones, their count per group [G, 1], and where an advantage may be non-zero."""
    present = ~rewards.isnan()
    return torch.where(present, rewards.double(), 0.0), present.sum(1, keepdim=True), present & ~zero_variance(rewards)[:, None]


def group_mean_advantages(rewards: Float[Tensor, "G k"]) -> Float[Tensor, "G k"]:
    """r - mean of the group (Dr. GRPO, arXiv:2503.20783)."""
    return _centred(rewards).to(rewards.dtype)


def _centred(rewards: Tensor) -> Tensor:
    values, count, alive = _masked(rewards)
    return torch.where(alive, values - values.sum(1, keepdim=True) / count.clamp(min=1), 0.0)


def group_std_advantages(rewards: Float[Tensor, "G k"]) -> Float[Tensor, "G k"]:
    """(r - mean) / (std + EPSILON) within each group (GRPO, arXiv:2402.03300)."""
    centred = _centred(rewards)
    count = (~rewards.isnan()).sum(1, keepdim=True)
    deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return (centred / (deviation + EPSILON)).to(rewards.dtype)


def leave_one_out_advantages(rewards: Float[Tensor, "G k"]) -> Float[Tensor, "G k"]:
    """r - mean of the group's *other* rewards (RLOO, arXiv:2402.14740); 0 for a group of one."""
    values, count, alive = _masked(rewards)
    others = (values.sum(1, keepdim=True) - values) / (count - 1).clamp(min=1)
    return torch.where(alive, values - others, 0.0).to(rewards.dtype)


def group_mean_batch_std_advantages(rewards: Float[Tensor, "G k"]) -> Float[Tensor, "G k"]:
    """(r - mean of the group) / (std over the whole batch of these + EPSILON) (REINFORCE++-baseline, arXiv:2501.03262).

    The batch mean is not subtracted again: over whole groups it is already zero, and a zero-variance group stays at 0.
    """
    centred = _centred(rewards)
    count = int((~rewards.isnan()).sum())
    deviation = (centred.square().sum() / max(1, count - 1)).sqrt()
    return (centred / (deviation + EPSILON)).to(rewards.dtype)


GROUP_ESTIMATORS = {
    "group_std": group_std_advantages,
    "group_mean": group_mean_advantages,
    "leave_one_out": leave_one_out_advantages,
    "group_mean_batch_std": group_mean_batch_std_advantages,
}


def discounted_returns(rewards: Float[Tensor, "B T"], response_mask: Bool[Tensor, "B T"], gamma: float) -> Float[Tensor, "B T"]:
    """Return to go, R_t = r_t + gamma R_{t+1}, over the own tokens; 0 elsewhere.

    REINFORCE++ (arXiv:2501.03262) whitens these over the batch.
    """
    zeros = torch.zeros_like(rewards)
    return generalised_advantages(rewards, zeros, response_mask, gamma, 1.0).returns


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
    kind, rewards, values = rewards.dtype, rewards.double(), values.double()
    advantages = torch.zeros_like(rewards)
    next_value = torch.zeros_like(rewards[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in reversed(range(rewards.shape[1])):  # next_value is V_{t+1}: the value before token t + 1 is drawn
        own = response_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        next_value = torch.where(own, values[:, t], next_value)
        next_advantage = torch.where(own, advantage, next_advantage)
        advantages[:, t] = torch.where(own, advantage, 0.0)
    return ValueTargets(advantages.to(kind), torch.where(response_mask, advantages + values, 0.0).to(kind))


def whiten(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """(x - mean) / sqrt(var + 1e-8) over the positions where ``mask`` is True (var with ddof=1, as in TRL's PPO); 0 elsewhere.

    Equal values become exactly 0.
    """
    kept = values[mask].double()
    if kept.numel() < 2 or kept.min() == kept.max():
        return torch.zeros_like(values)
    variance, mean = torch.var_mean(kept)
    return torch.where(mask, (values - mean) * torch.rsqrt(variance + 1e-8), 0.0).to(values.dtype)


def explained_variance(returns: Float[Tensor, " N"], values: Float[Tensor, " N"]) -> float:
    """1 - var(returns - values) / var(returns); 0 if the returns are equal, or vary too little to divide."""
    if returns.numel() < 2 or returns.min() == returns.max():
        return 0.0
    explained = 1 - (returns - values).double().var() / returns.double().var()
    return float(explained) if explained.isfinite() else 0.0
