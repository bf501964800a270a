"""A step's metrics under the names that TRL's users know, the sentinel's signals among them, and a table of samples."""

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from ratchet.components.algorithms.advantages import explained_variance, zero_variance
from ratchet.components.algorithms.kl import k3
from ratchet.components.algorithms.losses import masked_mean
from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction, is_right, score_rows
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.training.exchange import grade_fields
from ratchet.components.training.experience import Experience, completion_divergence
from ratchet.components.training.rollouts import PromptRollout, Rollouts, flat

FEWEST_UNSOLVED = 4  # groups of which a share says something


def rollout_figures(rollouts: Rollouts, gold: RewardFunction | None = grade_numbers, ranks: Ranks = ONE) -> dict[str, float]:
    """Figures of the rollouts themselves, before penalties and KL. Means are over completions; missing rewards are left out.

    Args:
        gold: None if the reward is the gold, whose grades the rollouts have.
        ranks: each grades its own groups.
    """
    rewards, lengths, finished = rollouts.rewards, rollouts.lengths.float(), rollouts.finished
    figures = _spread("reward", rewards[~rewards.isnan()])
    figures |= {
        "frac_reward_zero_std": float(zero_variance(rewards).float().mean()),
        "frac_reward_missing": float(rewards.isnan().float().mean()),
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float((~finished).float().mean()),
    }
    if finished.any():
        figures["completions/mean_terminated_length"] = float(lengths[finished].mean())
    entropies = flat(c.entropies for c in rollouts.completions)
    if len(entropies):
        figures["entropy"] = float(entropies.mean())
    for name in sorted({name for score in rollouts.scores for name in score.parts}):
        values = torch.tensor([s.parts[name] for s in rollouts.scores if name in s.parts], dtype=torch.float64)
        figures |= _spread(f"rewards/{name}", values, "/mean", "/std")
    grades = [group.scores for group in rollouts.groups] if gold is None else _graded(rollouts, gold, ranks)
    return figures | _watched_figures(rollouts, grades)


def _graded(rollouts: Rollouts, gold: RewardFunction, ranks: Ranks) -> list[list[Grade]]:
    """The gold's grades, group by group."""

    def grade(groups: Sequence[PromptRollout]) -> list[list[dict[str, Any]]]:
        graded = [score_rows(gold, [group.row] * len(group.texts), group.texts) for group in groups]
        return [[grade_fields(grade) for grade in grades] for grades in graded]

    return [[Grade(**fields) for fields in group] for group in ranks.dealt(rollouts.groups, grade)]


def _watched_figures(rollouts: Rollouts, grades: Sequence[Sequence[Grade]]) -> dict[str, float]:
    """What the sentinel looks at; a figure that the rollouts do not give is left out. Gold counts groups that it can judge."""
    rewards = rollouts.rewards
    scores = [[grade.score for grade in group if grade.score is not None] for group in grades]
    whole = [len(known) == rollouts.k for known in scores]
    right = [[is_right(grade) for grade in group] for group in grades]
    judged = [(group.texts, good) for group, good, known in zip(rollouts.groups, right, whole, strict=True) if known]
    solved = [known and all(good) for known, good in zip(whole, right, strict=True)]
    total = sum(sum(known) for known, complete in zip(scores, whole, strict=True) if complete)
    figures = {
        "accuracy": total / (len(judged) * rollouts.k) if judged else None,
        "completions/identical_wrong": identical_and_wrong(judged) if judged else None,
        "frac_unsolved_zero_std": unsolved_zero_variance(zero_variance(rewards).tolist(), solved) if rollouts.k > 1 else None,
        "completions/distinct_2": distinct_2([c.tokens for c in rollouts.completions]),
        "completions/length_correlation": length_correlation(
            rewards.double().numpy(), rollouts.lengths.reshape(rewards.shape).numpy()
        ),
    }
    return {name: value for name, value in figures.items() if value is not None}


def experience_figures(experience: Experience) -> dict[str, float]:
    """Figures of what is learned from: over own tokens, and divergence from the reference before the update."""
    mask = experience.mask
    if not mask.any():
        return {}
    advantages = experience.advantages[mask]
    figures = {f"advantages/{name}": float(getattr(advantages, name)()) for name in ("mean", "max", "min")}
    if experience.reference_log_probs is not None:
        figures["kl"] = float(masked_mean(k3(experience.old_log_probs, experience.reference_log_probs), mask))
        figures["objective/kl"] = completion_divergence(experience)  # nats per completion
    if experience.correction is not None:
        weights = experience.correction[mask]
        figures |= {
            f"sampling/importance_sampling_ratio/{name}": float(getattr(weights, name)()) for name in ("mean", "min", "max")
        }
    if experience.values is not None and experience.returns is not None:
        values, returns = experience.values[mask], experience.returns[mask]
        figures |= {"explained_variance": explained_variance(returns, values), "values/mean": float(values.mean())}
        figures["returns/mean"] = float(returns.mean())
    return figures


def sample_rows(rollouts: Rollouts, experience: Experience, count: int) -> list[dict[str, Any]]:
    """The first ``count`` completions: prompt, completion, each reward, and the advantage (mean over own tokens)."""
    rows = []
    for number in range(min(count, len(rollouts.completions))):
        group, place = rollouts.groups[number // rollouts.k], number % rollouts.k
        grade, advantage = group.scores[place], float(masked_mean(experience.advantages[number], experience.mask[number]))
        rows.append(
            {
                "prompt": group.row["prompt"],
                "completion": group.texts[place],
                "reward": grade.score,
                **{f"reward/{name}": value for name, value in grade.parts.items()},
                "advantage": advantage if math.isfinite(advantage) else None,
                "tokens": len(group.completions[place].tokens),
                "finished": group.completions[place].finished,
            }
        )
    return rows


def _spread(name: str, values: Tensor, mean: str = "", std: str = "_std") -> dict[str, float]:
    if not len(values):
        return {f"{name}{mean}": 0.0, f"{name}{std}": 0.0}
    return {f"{name}{mean}": float(values.mean()), f"{name}{std}": float(values.std()) if len(values) > 1 else 0.0}


def distinct_2(completions: Sequence[Sequence[int]]) -> float | None:
    """Distinct pairs of neighbouring tokens over all pairs, averaged over completions of two tokens or more.

    Li et al. 2016, arXiv:1510.03055 (distinct-n), within each completion: the phrases of many right answers are alike, those
    of a text that goes round in circles repeat within it. [1, 2, 1, 2] has the pairs 12, 21, 12: 2/3. None without any pair.
    """
    shares = [len(set(pairwise(c))) / (len(c) - 1) for c in completions if len(c) > 1]
    return sum(shares) / len(shares) if shares else None


def identical_and_wrong(groups: Sequence[tuple[Sequence[Hashable], Sequence[bool]]]) -> float:
    """Share of completions that are wrong and equal another of their group. Right answers may well be all alike.

    Args:
        groups: of each prompt the completions, and whether each is right.
    """
    repeated = [not good and texts.count(text) > 1 for texts, right in groups for text, good in zip(texts, right, strict=True)]
    return sum(repeated) / len(repeated)


def unsolved_zero_variance(equal: Sequence[bool], solved: Sequence[bool]) -> float | None:
    """Share of zero-variance groups among those that are not solved; None with fewer than ``FEWEST_UNSOLVED`` of them.

    Groups that are all right and all paid alike are where training leads, and no fault.
    """
    open_ = [alike for alike, done in zip(equal, solved, strict=True) if not done]
    return open_.count(True) / len(open_) if len(open_) >= FEWEST_UNSOLVED else None


def length_correlation(rewards: NDArray[np.float64], lengths: NDArray[np.int64]) -> float | None:
    """Spearman correlation of reward and length within groups, pooled over them.

    Both are [P, k]; ranks are taken in each group, ties shared, and centred there, so that prompts that call for long answers
    do not count. Groups with a missing reward (NaN) are left out. None where nothing varies.
    """
    whole = ~np.isnan(rewards).any(1)
    a, b = (_centred_ranks(values[whole]) for values in (rewards, lengths))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _centred_ranks(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    if not values.size:
        return np.zeros(values.shape)
    ranks: NDArray[np.float64] = rankdata(values, axis=1)
    centred: NDArray[np.float64] = ranks - ranks.mean(1, keepdims=True)
    return centred
