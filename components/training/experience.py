"""From rollouts to training targets: advantages, returns, masks, each per token.

Notation: S completions, T the longest. ``mask`` is True on the tokens that count: a completion's own, unless it has no
reward, or was truncated and the recipe masks truncated ones.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ratchet.components.algorithms.advantages import (
    GROUP_ESTIMATORS,
    discounted_returns,
    generalised_advantages,
    whiten,
)
from ratchet.components.algorithms.kl import k1
from ratchet.components.algorithms.losses import truncated_importance_weights
from ratchet.components.algorithms.reward_shaping import kl_penalty, on_last_token, overlong_penalty
from ratchet.components.recipe import Train
from ratchet.components.training.rollouts import Rollouts


@dataclass(frozen=True)
class Scored:
    """What models computed on the rollouts before the update, each [S, T] and only if needed.

    Column t of each matrix is of token t: its log-prob was predicted at t - 1, and its value is of the state *before* it is
    drawn. ``policy/packing.py`` makes that shift once; no one shifts again.
    """

    reference_log_probs: Tensor | None = None
    trainer_log_probs: Tensor | None = None  # if the sampler's are not exact
    by_the_update: bool = False  # if they are not, but the update's is the only forward pass before the weights change
    values: Tensor | None = None  # of the critic


@dataclass(frozen=True)
class Experience:
    """Per-token training quantities, each [S, T], in float32; column t of each is of token t of the completion."""

    advantages: Tensor
    old_log_probs: Tensor
    mask: Tensor
    reference_log_probs: Tensor | None = None
    correction: Tensor | None = None  # truncated importance weights of the sampler
    corrected_by_the_update: bool = False  # old log-probs are the sampler's; the update replaces them with its own
    values: Tensor | None = None
    returns: Tensor | None = None

    def to(self, device: torch.device) -> "Experience":
        """A copy on another device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()}
        return Experience(**moved)


def build_experience(rollouts: Rollouts, scored: Scored, train: Train, kl_coefficient: float, max_tokens: int) -> Experience:
    """Advantages by the recipe's estimator, after overlong penalty and KL in the reward.

    Args:
        kl_coefficient: of this step; used with ``train.kl=reward``.
        max_tokens: the limit at which completions were truncated.

    Rewards stay in float64 until the advantages are computed: float32 would lose small differences of large rewards.
    """
    old = rollouts.log_probs if scored.trainer_log_probs is None else scored.trainer_log_probs
    rewards, mask = _rewards(rollouts, train, max_tokens), _mask(rollouts, train)
    penalty = torch.zeros_like(old)
    if train.kl == "reward":
        assert scored.reference_log_probs is not None
        penalty = kl_penalty(old, scored.reference_log_probs, mask, kl_coefficient)
    returns = None
    if train.advantage in GROUP_ESTIMATORS:
        # A group compares whole completions, so the KL is summed over the tokens before the group is centred.
        shaped = rewards - penalty.sum(1).reshape(rewards.shape)
        advantages = GROUP_ESTIMATORS[train.advantage](shaped).reshape(-1, 1).expand_as(old)
    else:
        token_rewards = on_last_token(rewards.flatten(), mask) - penalty
        advantages, returns = _from_token_rewards(token_rewards, scored.values, mask, train)
    correction = None
    if scored.trainer_log_probs is not None:
        correction = truncated_importance_weights(old, rollouts.log_probs, train.loss.correction_cap)
    return Experience(
        advantages=torch.where(mask, advantages, 0.0).float(),
        old_log_probs=old,
        mask=mask,
        reference_log_probs=scored.reference_log_probs,
        correction=correction,
        corrected_by_the_update=scored.by_the_update,
        values=scored.values,
        returns=None if returns is None else returns.float(),
    )


def completion_divergence(experience: Experience) -> float:
    """Nats per completion from the reference: k1 summed over own tokens, averaged over the completions that count."""
    assert experience.reference_log_probs is not None
    d = torch.where(experience.mask, k1(experience.old_log_probs, experience.reference_log_probs), 0.0)
    return float(d.sum() / experience.mask.any(1).sum().clamp(min=1))


def _rewards(rollouts: Rollouts, train: Train, max_tokens: int) -> Tensor:
    rewards = rollouts.rewards
    if train.sampling.overlong != "penalty":
        return rewards
    buffer = max(1, round(train.sampling.overlong_buffer * max_tokens))
    return rewards + overlong_penalty(rollouts.lengths, max_tokens, buffer).reshape(rewards.shape)


def _mask(rollouts: Rollouts, train: Train) -> Tensor:
    counted = ~rollouts.rewards.flatten().isnan()
    if train.sampling.overlong == "mask":
        counted = counted & rollouts.finished
    return rollouts.mask & counted[:, None]


def _from_token_rewards(rewards: Tensor, values: Tensor | None, mask: Tensor, train: Train) -> tuple[Tensor, Tensor | None]:
    """Advantages, and the critic's targets if there is one."""
    if train.advantage == "batch":
        return whiten(discounted_returns(rewards, mask, train.gamma), mask), None
    assert train.advantage == "gae"
    assert values is not None
    # Returns use the advantages before whitening; the critic must not learn whitened ones.
    advantages, returns = generalised_advantages(rewards, values, mask, train.gamma, train.gae_lambda)
    if train.value_lambda is not None:
        returns = generalised_advantages(rewards, values, mask, train.gamma, train.value_lambda).returns
    return (whiten(advantages, mask) if train.whiten else advantages), returns
