"""What is shown of a step's rollouts: figures under the names that TRL's users know, and a table of samples."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ratchet.components.algorithms.advantages import explained_variance, has_signal
from ratchet.components.algorithms.kl import k3
from ratchet.components.algorithms.normalisers import masked_mean
from ratchet.components.graders.number import is_correct
from ratchet.components.training.experience import Experience, completion_divergence
from ratchet.components.training.rollouts import Rollouts
from ratchet.components.training.sentinel.signals import distinct_2, identical_and_wrong, length_correlation, unsolved_silent


def rollout_figures(rollouts: Rollouts) -> dict[str, float]:
    """Figures of the rollouts themselves, before penalties and KL. Means are over completions; missing rewards are left out."""
    rewards, lengths, finished = rollouts.rewards, rollouts.lengths.float(), rollouts.finished
    figures = _spread("reward", rewards[~rewards.isnan()])
    figures |= {
        "frac_reward_zero_std": float((~has_signal(rewards)).float().mean()),
        "frac_reward_missing": float(rewards.isnan().float().mean()),
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float((~finished).float().mean()),
    }
    if finished.any():
        figures["completions/mean_terminated_length"] = float(lengths[finished].mean())
    entropies = torch.tensor([e for c in rollouts.completions for e in c.entropies])
    if len(entropies):
        figures["entropy"] = float(entropies.mean())
    for name in sorted({name for score in rollouts.scores for name in score.parts}):
        values = torch.tensor([s.parts[name] for s in rollouts.scores if name in s.parts], dtype=torch.float64)
        figures |= _spread(f"rewards/{name}", values, "/mean", "/std")
    return figures | _watched_figures(rollouts)


def _watched_figures(rollouts: Rollouts) -> dict[str, float]:
    """What the sentinel looks at; a figure that the rollouts do not give is left out. Gold is the verifier's, on any reward."""
    rewards = rollouts.rewards
    right = [[_is_right(group.row, text) for text in group.texts] for group in rollouts.groups]
    judged = [(group.texts, good) for group, good in zip(rollouts.groups, right, strict=True) if "answer" in group.row]
    solved = [all(good) for good in right]
    figures = {
        "accuracy": sum(sum(good) for _, good in judged) / (len(judged) * rollouts.k) if judged else None,
        "completions/identical_wrong": identical_and_wrong(judged) if judged else None,
        "frac_unsolved_silent": unsolved_silent(has_signal(rewards).tolist(), solved) if rollouts.k > 1 else None,
        "completions/distinct_2": distinct_2([c.tokens for c in rollouts.completions]),
        "completions/length_correlation": length_correlation(
            rewards.double().numpy(), rollouts.lengths.reshape(rewards.shape).numpy()
        ),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _is_right(row: Mapping[str, Any], text: str) -> bool:
    return "answer" in row and is_correct(text, str(row["answer"]))


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
        score, advantage = group.scores[place], float(masked_mean(experience.advantages[number], experience.mask[number]))
        rows.append(
            {
                "prompt": group.row["prompt"],
                "completion": group.texts[place],
                "reward": score.total,
                **{f"reward/{name}": value for name, value in score.parts.items()},
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
