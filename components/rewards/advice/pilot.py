"""The statistics of a pilot on the current policy from which the group size is advised."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ratchet.components.rewards.checks.on_samples import Group, noise_variance, within_variance
from ratchet.components.statistics.intervals import Floats


@dataclass(frozen=True)
class Pilot:
    """Variances are of the reward, over P prompts of k samples."""

    prompts: int
    k: int
    within: float  # among samples of one prompt, without the scoring's own noise
    between: float  # of the prompts' mean rewards, less the sampling variance of k samples
    noise: float  # of repeated scorings of the same text
    fidelity: float  # squared correlation of reward and gold within prompts: 1 if the reward is the gold verdict
    passes: list[int]  # right samples of each prompt with all k samples
    tokens: float  # mean length of a completion
    longest: int

    @classmethod
    def measured(cls, groups: Sequence[Group], lengths: Sequence[int]) -> "Pilot":
        """From the scored samples; lengths in tokens."""
        k = max((len(group.gold) for group in groups), default=0)
        return cls(
            prompts=len(groups),
            k=k,
            within=within_variance(groups),
            between=between_variance(groups),
            noise=noise_variance(groups),
            fidelity=fidelity(groups),
            passes=[int(group.gold.sum()) for group in groups if len(group.gold) == k],
            tokens=float(np.mean(lengths)) if len(lengths) else 0.0,
            longest=max(lengths, default=0),
        )

    @property
    def signal_share(self) -> float:
        """rho: the share of the variance within prompts that is explained by correctness and is reproducible.

        With s the repeatable part of the reward, noise e and squared correlation F of s + e with gold within prompts, F is
        itself the share that gold explains; if gold never varies within a prompt, only the retest is used.
        """
        whole = self.within + self.noise
        repeatable = self.within / whole if whole > 0 else 0.0
        return min(repeatable, self.fidelity) if any(0 < p < self.k for p in self.passes) else repeatable

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Pilot":
        return cls(**value)


def between_variance(groups: Sequence[Group]) -> float:
    """Variance of the prompts' mean rewards, less the sampling variance within prompts; at least 0."""
    kept = [group.values for group in groups if len(group.values) > 1]
    if len(kept) < 2:
        return 0.0
    chance = np.mean([values.var(ddof=1) / len(values) for values in kept])
    return max(0.0, float(np.var([values.mean() for values in kept], ddof=1) - chance))


def fidelity(groups: Sequence[Group]) -> float:
    """Squared correlation of reward and gold, both centred by prompt; 0 if one of them never varies."""
    values = [_centred(group.values) for group in groups]
    gold = [_centred(group.gold) for group in groups]
    if not values:
        return 0.0
    v, g = np.concatenate(values), np.concatenate(gold)
    scale = float((v**2).sum() * (g**2).sum())
    return float((v * g).sum() ** 2 / scale) if scale > 0 else 0.0


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean()
    return centred
