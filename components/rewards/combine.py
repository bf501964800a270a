"""Combined rewards: a mix with the verifier, a weighted sum, an ensemble of models."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction, checked

Combine = Literal["mean", "min", "mean_minus_sd"]


def squash(score: float) -> float:
    """The sigmoid of a model's score, without overflow."""
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


class Verified:
    """A grader as the whole reward: its score is the part ``verifier``, beside the grader's own parts."""

    def __init__(self, grader: RewardFunction) -> None:
        self.grader = grader

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [
            grade if grade.score is None else replace(grade, parts={"verifier": grade.score, **grade.parts})
            for grade in self.grader(prompts, completions, rows)
        ]


class WeightedTerm(NamedTuple):
    """One term of a sum. ``source`` names it in errors; ``scale`` is applied to its total before the weight."""

    name: str
    weight: float
    function: RewardFunction
    source: str
    scale: Callable[[float], float] = float


class Sum:
    """Weighted sum of rewards. If one term could not judge a completion, the score is None with that fault."""

    def __init__(self, terms: Sequence[WeightedTerm]) -> None:
        self.terms = terms

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        count = len(completions)
        judged = [checked(t.function(prompts, completions, rows), count, t.source, math.inf) for t in self.terms]
        return [self._add(scores) for scores in zip(*judged, strict=True)]

    def _add(self, scores: Sequence[Grade]) -> Grade:
        totals = [(term, grade.score) for term, grade in zip(self.terms, scores, strict=True)]
        parts = {term.name: total for term, total in totals if total is not None}
        missing = [grade for grade in scores if grade.score is None]
        if missing:
            first = next((grade for grade in missing if grade.fault is not None), missing[0])
            return Grade(None, parts, reason=first.reason, fault=first.fault)
        return Grade(sum(term.weight * term.scale(total) for term, total in totals if total is not None), parts)


class Mix(Sum):
    """Weighted sum of a verifier and the reward model's score, squashed into (0, 1) by a sigmoid."""

    def __init__(
        self, model: RewardFunction, verifier_weight: float, model_weight: float, verifier: RewardFunction = grade_numbers
    ) -> None:
        super().__init__(
            [
                WeightedTerm("verifier", verifier_weight, verifier, "the verifier"),
                WeightedTerm("model", model_weight, model, "the reward model", squash),
            ]
        )


class Ensemble:
    """Reward models of different seeds as one; the conservative forms pay less where they disagree.

    mean; min; mean - lambda sd, sd with n - 1 (Coste et al. 2023, arXiv:2310.02743; Eisenstein et al. 2023, arXiv:2312.09244).
    """

    def __init__(self, members: Sequence[RewardFunction], combine: Combine = "mean", sd_weight: float = 1.0) -> None:
        self.members, self.combine, self.sd_weight = members, combine, sd_weight

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        results = [m(prompts, completions, rows) for m in self.members]
        scored = [checked(scores, len(completions), f"member {i}", math.inf) for i, scores in enumerate(results)]
        return [self._combine([grade.score for grade in scores]) for scores in zip(*scored, strict=True)]

    def _combine(self, totals: Sequence[float | None]) -> Grade:
        known = [total for total in totals if total is not None]
        if len(known) < len(totals):
            return Grade(None, {})
        mean, spread = statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else 0.0
        total = {"mean": mean, "min": min(known), "mean_minus_sd": mean - self.sd_weight * spread}[self.combine]
        return Grade(total, {"model": total, "model_sd": spread})
