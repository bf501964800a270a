"""The result of one rollout phase: completions and their rewards, by prompt.

Notation: P prompts of k completions each, S = P x k, T the longest completion.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ratchet.components.algorithms.advantages import zero_variance
from ratchet.components.graders.protocol import Grade, RewardFunction, score_rows
from ratchet.components.policy.engines.engine import Completion, RolloutEngine, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from ratchet.components.randomness import stream
from ratchet.components.training.meters import Phases


@dataclass(frozen=True)
class PromptRollout:
    """One prompt's completions and their scores."""

    row: Mapping[str, Any]  # of the dataset
    prompt: Sequence[int]  # token ids
    completions: Sequence[Completion]
    texts: Sequence[str]
    scores: Sequence[Grade]


@dataclass(frozen=True)
class Rollouts:
    """All prompts of a step; matrices are prompt-major."""

    groups: Sequence[PromptRollout]

    @property
    def k(self) -> int:
        return len(self.groups[0].completions)

    @cached_property
    def completions(self) -> list[Completion]:
        """All S of them."""
        return [c for group in self.groups for c in group.completions]

    @cached_property
    def scores(self) -> list[Grade]:
        return [s for group in self.groups for s in group.scores]

    @property
    def rewards(self) -> Tensor:
        """[P, k] in float64, NaN if the reward is missing."""
        totals = [float("nan") if s.score is None else s.score for s in self.scores]
        return torch.tensor(totals, dtype=torch.float64).reshape(len(self.groups), -1)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each completion, end-of-sequence included, [S] long."""
        return torch.tensor([len(c.tokens) for c in self.completions])

    @property
    def finished(self) -> Tensor:
        """True if a completion ended before the limit, [S] bool."""
        return torch.tensor([c.finished for c in self.completions])

    @cached_property
    def mask(self) -> Tensor:
        """True on the tokens of each completion, [S, T] bool."""
        lengths = self.lengths
        return torch.arange(int(lengths.max())) < lengths[:, None]

    @cached_property
    def log_probs(self) -> Tensor:
        """The sampler's log-probs, [S, T], 0 beyond each completion's end."""
        matrix = torch.zeros(self.mask.shape)
        matrix[self.mask] = flat(c.log_probs for c in self.completions)
        return matrix

    @cached_property
    def prefix_log_probs(self) -> Tensor:
        """Log-prob of the least likely token before each token, as it was sampled, [S, T]; 0 at the first."""
        # Shifted by one: only tokens before t, or the critic would see the action for which it is a baseline.
        before = torch.nn.functional.pad(self.log_probs[:, :-1], (1, 0))
        return before.cummin(1).values

    @cached_property
    def largest_group(self) -> int:
        """Packed tokens of the largest group."""
        return max(group.tokens for group in self.token_groups(range(len(self.groups))))

    def token_groups(self, kept: Sequence[int]) -> list[Group]:
        """Token ids of the prompts numbered ``kept``."""
        return [Group(self.groups[i].prompt, [c.tokens for c in self.groups[i].completions]) for i in kept]


def flat(values: Iterable[Sequence[float]]) -> Tensor:
    """Lists or arrays of float64, one after another, in float32."""
    return torch.from_numpy(np.concatenate([np.asarray(own, dtype=np.float64) for own in values])).float()


def roll_out(
    policy: Policy,
    engine: RolloutEngine,
    rows: Sequence[Mapping[str, Any]],
    items: Sequence[int],
    settings: SamplingSettings,
    seed: SamplingSeed,
    reward: RewardFunction,
    phases: Phases,
) -> list[PromptRollout]:
    """Sample ``settings.samples`` completions for each row and score them.

    Args:
        items: number of each row for its random counters; equal numbers give equal completions.

    Raises:
        RewardError: if the reward breaks its protocol.
    """
    if not rows:
        return []
    k = settings.samples
    with phases("rollout"):
        prompts = [policy.encode_row(row) for row in rows]
        completions = engine(policy, SamplingRequest(prompts, items, settings, seed, policy.ends))
    with phases("reward"):
        texts = [policy.decode(c.tokens) for group in completions for c in group]
        repeated = [row for row in rows for _ in range(k)]
        scores = score_rows(reward, repeated, texts)
    parts = zip(rows, prompts, completions, _by(k, texts), _by(k, scores), strict=True)
    return [PromptRollout(*part) for part in parts]


def _by(k: int, values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[i : i + k] for i in range(0, len(values), k)]


def distinct_items(numbers: Sequence[int], size: int) -> list[int]:
    """Row numbers made distinct, so that a row drawn twice in a step does not get the same completions twice."""
    seen: dict[int, int] = {}
    items = []
    for number in numbers:
        items.append(number + size * seen.get(number, 0))
        seen[number] = seen.get(number, 0) + 1
    return items


class Refill(NamedTuple):
    """Rows to try in place of zero-variance groups."""

    places: list[int]  # of the zero-variance groups
    rows: list[int]


def refill(rewards: Tensor, seed: int, step: int, number: int, rows: int) -> Refill | None:
    """The zero-variance groups and the rows that round ``number`` of dynamic sampling draws for them; None if there are none.

    Args:
        rewards: [P, k].
        rows: rows of the train split.
    """
    places = zero_variance(rewards).nonzero()[:, 0].tolist()
    if not places:
        return None
    return Refill(places, stream(seed, "refill", step, number).integers(0, rows, len(places)).tolist())


def refilled(rollouts: Rollouts, places: Sequence[int], new: Rollouts) -> Rollouts:
    """The rollouts with zero-variance groups replaced by new groups in which rewards differ."""
    alive = [group for group, equal in zip(new.groups, zero_variance(new.rewards).tolist(), strict=True) if not equal]
    groups = list(rollouts.groups)
    for place, group in zip(places, alive, strict=False):  # the remaining groups stay
        groups[place] = group
    return Rollouts(groups)
