"""What one rollout phase gives the update: completions, rewards, and per-token quantities.

Notation: S completions (P prompts x k), T the longest completion. ``mask`` is True on a completion's own tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.algorithms.advantages import generalised_advantages, group_advantages, has_signal, whiten
from components.policy.loading import Policy
from components.policy.packing import Group
from components.policy.sampling import Completion, SamplingSeed, SamplingSettings, sample
from components.rewards.protocol import RewardFunction, Score, checked


@dataclass(frozen=True)
class Rollouts:
    """Sampled completions and their rewards, by prompt."""

    prompts: list[list[int]]
    completions: list[list[Completion]]
    scores: list[Score]  # S, prompt-major

    @property
    def rewards(self) -> Tensor:
        """[P, k], NaN where the reward is missing."""
        totals = [float("nan") if s.total is None else s.total for s in self.scores]
        return torch.tensor(totals).reshape(len(self.prompts), -1)

    def groups(self, kept: Sequence[int]) -> list[Group]:
        """Token groups of the prompts numbered ``kept``."""
        return [Group(self.prompts[i], [c.tokens for c in self.completions[i]]) for i in kept]

    def padded(self) -> tuple[Tensor, Tensor]:
        """Sampler log-probs [S, T] and the mask [S, T]."""
        flat = [c for group in self.completions for c in group]
        width = max(len(c.tokens) for c in flat)
        log_probs = torch.zeros(len(flat), width)
        mask = torch.zeros(len(flat), width, dtype=torch.bool)
        for row, completion in enumerate(flat):
            log_probs[row, : len(completion.tokens)] = torch.tensor(completion.log_probs)
            mask[row, : len(completion.tokens)] = True
        return log_probs, mask


def roll_out(
    policy: Policy,
    rows: Sequence[Mapping[str, Any]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    reward: RewardFunction,
) -> Rollouts:
    """Sample ``settings.samples`` completions for each row and score them."""
    prompts = [policy.encode_prompt(row["prompt"]) for row in rows]
    completions = sample(policy.model, prompts, items, settings, seed, policy.end_of_sequence)
    repeated = [row for row in rows for _ in range(settings.samples)]
    texts = [policy.decode(c.tokens) for group in completions for c in group]
    scores = reward([row["prompt"] for row in repeated], texts, repeated)
    return Rollouts(prompts, completions, checked(scores, len(texts), "the reward"))


@dataclass(frozen=True)
class Experience:
    """Per-token training quantities, each [S, T]; returns and values only with a critic."""

    advantages: Tensor
    old_log_probs: Tensor
    mask: Tensor
    reference_log_probs: Tensor | None = None
    values: Tensor | None = None
    returns: Tensor | None = None


def group_experience(rollouts: Rollouts, reference_log_probs: Tensor | None, reward_kl: float) -> Experience:
    """GRPO: a completion's group-relative advantage on each of its tokens; no critic."""
    old_log_probs, mask = rollouts.padded()
    rewards = rollouts.rewards
    if reward_kl and reference_log_probs is not None:
        divergence = torch.where(mask, old_log_probs - reference_log_probs, 0.0).sum(1)
        rewards = rewards - reward_kl * divergence.reshape(rewards.shape)
    advantages = group_advantages(rewards).reshape(-1, 1).expand_as(old_log_probs)
    return Experience(torch.where(mask, advantages, 0.0), old_log_probs, mask, reference_log_probs)


def critic_experience(
    rollouts: Rollouts,
    values: Tensor,
    reference_log_probs: Tensor | None,
    reward_kl: float,
    gamma: float,
    lam: float,
) -> Experience:
    """PPO: the reward on the last token, minus the KL penalty on each; GAE; advantages whitened over the batch.

    A completion without a reward is masked out whole.
    """
    old_log_probs, mask = rollouts.padded()
    totals = rollouts.rewards.flatten()
    mask = mask & ~totals.isnan()[:, None]
    token_rewards = torch.zeros_like(old_log_probs)
    last = mask.sum(1).clamp(min=1) - 1
    token_rewards[torch.arange(len(totals)), last] = totals.nan_to_num(0.0)
    if reward_kl and reference_log_probs is not None:
        token_rewards -= reward_kl * torch.where(mask, old_log_probs - reference_log_probs, 0.0)
    targets = generalised_advantages(token_rewards, values, mask, gamma, lam)
    return Experience(whiten(targets.advantages, mask), old_log_probs, mask, reference_log_probs, values, targets.returns)


def rollout_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Figures of the rollouts themselves, before any KL penalty."""
    rewards = rollouts.rewards
    present = rewards[~rewards.isnan()]
    flat = [c for group in rollouts.completions for c in group]
    lengths = [len(c.tokens) for c in flat]
    metrics = {
        "reward": float(present.mean()) if present.numel() else 0.0,
        "reward_std": float(present.std()) if present.numel() > 1 else 0.0,
        "frac_reward_zero_std": float((~has_signal(rewards)).float().mean()),
        "frac_reward_missing": float(rewards.isnan().float().mean()),
        "completions/mean_length": float(np.mean(lengths)),
        "completions/clipped_ratio": float(np.mean([not c.finished for c in flat])),
        "num_tokens": float(sum(lengths)),
    }
    for name in sorted({name for score in rollouts.scores for name in score.parts}):
        metrics[f"rewards/{name}/mean"] = float(np.mean([s.parts[name] for s in rollouts.scores if name in s.parts]))
    return metrics
