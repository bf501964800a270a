"""A grader around something that only gives scores: what passes, what the scores are, and the bytes that decide them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ratchet.components.graders.protocol import BINARY, Grade, Measure, RewardFunction

ROUNDING = 1e-12  # relative: 0.4 + 0.2 + 0.3 + 0.1 is above 1, and 0.7 + 0.2 + 0.1 below


@dataclass(frozen=True)
class Scorer:
    """The grades of a function: its scores mapped from ``span`` to [0, 1], and passed from a score on.

    A score outside of the span, or between its ends for a binary grader, is a fault, never clipped; one that misses an end by
    rounding is that end. Without a span scores stay as they are.
    """

    function: RewardFunction
    digest: str
    measure: Measure
    span: tuple[float, float] | None = (0.0, 1.0)
    passes_at: float | None = None  # in the function's own scores; binary: the upper end

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [self._judged(grade) for grade in self.function(prompts, completions, rows)]

    def _judged(self, grade: Grade) -> Grade:
        if grade.score is None:
            return grade
        if self.span is None:
            return grade if self.passes_at is None else replace(grade, passed=grade.score >= self.passes_at)
        low, high = self.span
        score = next((end for end in self.span if _is(grade.score, end, high - low)), grade.score)
        if not low <= score <= high or (self.measure == BINARY and score not in self.span):
            allowed = f"{low:g} or {high:g}" if self.measure == BINARY else f"{low:g} to {high:g}"
            return Grade(None, reason=f"a score of {grade.score:g}, not {allowed}. Correct range or measure", fault="protocol")
        bar = high if self.measure == BINARY and self.passes_at is None else self.passes_at
        passed = grade.passed if bar is None else score >= bar
        return replace(grade, score=(score - low) / (high - low), passed=passed)


def _is(score: float, end: float, width: float) -> bool:
    return math.isclose(score, end, rel_tol=ROUNDING, abs_tol=ROUNDING * width)
