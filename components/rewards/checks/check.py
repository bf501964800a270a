"""The result of a validation: checks with figure, interval, threshold and remedy; a report with its waivers.

A sampled check passes if the bound of its interval on the bad side is within the threshold, fails if the other bound is
beyond it too, and is undecided otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ratchet.components.statistics.intervals import Floats, Interval

FEWEST = 10  # pairs needed to judge a subset


@dataclass(frozen=True)
class Check:
    """One figure against its threshold, with the remedy for a failure."""

    name: str
    value: float | None  # None: no figure; ``detail`` says why
    low: float | None
    high: float | None
    threshold: float
    passed: bool | None  # None: not measured, which does not prevent training
    advice: str
    detail: str = ""
    waived: str | None = None  # the recipe's reason for accepting a failure
    undecided: bool = False  # failed only because the interval contains the threshold: more samples would decide

    @property
    def blocks(self) -> bool:
        """Whether it prevents training."""
        return self.passed is False and self.waived is None

    @property
    def nothing_to_measure(self) -> bool:
        """Whether it failed for lack of anything to measure, and the recipe accepts that."""
        return self.passed is False and self.value is None and self.waived is not None

    @property
    def state(self) -> str:
        """``passed``, ``failed``, ``waived`` or ``not measured``: what people are shown."""
        if self.passed is None:
            return "not measured"
        return "passed" if self.passed else "failed" if self.waived is None else "waived"


PAIRS = "or use more pairs: raise data.split.pairs_heldout or data.split.pairs, and reward.validation.pairs if that is fewer."
PROMPTS = "or use more samples: raise reward.validation.samples or reward.validation.rounds."


def at_least(name: str, figure: Interval, threshold: float, advice: str, detail: str, more: str) -> Check:
    """A check of a figure that must not be below a threshold.

    Args:
        more: how to get more samples, for a figure that they would decide.
    """
    return _judged(name, figure, threshold, figure.low >= threshold, figure.high < threshold, advice, detail, more)


def at_most(name: str, figure: Interval, threshold: float, advice: str, detail: str, more: str) -> Check:
    """A check of a figure that must not be above a threshold."""
    return _judged(name, figure, threshold, figure.high <= threshold, figure.low > threshold, advice, detail, more)


def _judged(
    name: str, figure: Interval, threshold: float, passed: bool, failed: bool, advice: str, detail: str, more: str
) -> Check:
    undecided = not passed and not failed and math.isfinite(figure.value)
    if undecided:
        detail, advice = f"{detail}; undecided: the interval contains the threshold", f"{advice.rstrip('.')}; {more}"
    return Check(name, figure.value, figure.low, figure.high, threshold, passed, advice, detail, undecided=undecided)


def exact(name: str, value: float, threshold: float, passed: bool, advice: str, detail: str = "") -> Check:
    """A check of a figure that is not an estimate."""
    return Check(name, value, None, None, threshold, passed, advice, detail)


MORE_PAIRS = (
    "Give the rows chosen and rejected, or a file of pairs in data.source.pairs: near misses are derived only from answers "
    "that end in '#### N', N an integer. If the rows do have pairs, raise data.split.pairs."
)
NO_PAIRS = f"{MORE_PAIRS} Without pairs, reward.validation.waive can accept this check by name, with a reason."


def failed(name: str, threshold: float, advice: str, detail: str) -> Check:
    """A check that fails because there is nothing to measure."""
    return Check(name, None, None, None, threshold, False, advice, detail)


def unmeasured(name: str, threshold: float, advice: str, detail: str) -> Check:
    """A check that does not apply: neither passed nor failed."""
    return Check(name, None, None, None, threshold, None, advice, detail)


@dataclass(frozen=True)
class RewardReport:
    """A reward's validation; it passes only if no check fails that is not waived by name with a reason."""

    kind: str
    checks: list[Check]
    pilot: Mapping[str, Any] = field(default_factory=dict)  # input of the advice
    curves: Mapping[str, Any] = field(default_factory=dict)  # reliability and best-of-n, for plots
    identity: Mapping[str, str] = field(default_factory=dict)  # digests of what was validated
    mutation_score: float | None = None  # share of planted wrong answers that the gold caught

    @property
    def passed(self) -> bool:
        return any(check.passed is not None for check in self.checks) and not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed and are not waived."""
        return [check.name for check in self.checks if check.blocks]

    @property
    def waived(self) -> dict[str, str]:
        """Failed checks that the recipe waives, with its reasons."""
        return {check.name: check.waived for check in self.checks if check.passed is False and check.waived is not None}

    @property
    def counts(self) -> str:
        """How many checks passed, of those measured; and how many were not."""
        measured = [check for check in self.checks if check.passed is not None and not check.nothing_to_measure]
        said = f"{sum(check.passed is True for check in measured)} of {len(measured)} checks passed"
        missing = len(self.checks) - len(measured)
        return f"{said}, {missing} not measured" if missing else said

    def as_json(self) -> dict[str, Any]:
        checks = [{**asdict(check), "state": check.state} for check in self.checks]
        derived = {"passed": self.passed, "failed": self.failed, "waived": self.waived, "counts": self.counts}
        return {**asdict(self), "checks": checks, **derived}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RewardReport":
        checks = [Check(**{name: found for name, found in check.items() if name != "state"}) for check in value["checks"]]
        return cls(value["kind"], checks, value["pilot"], value["curves"], value["identity"], value["mutation_score"])


def finite(check: Check) -> Check:
    """The check with non-finite figures removed; it fails if its value is not finite."""
    low, high = (bound if bound is not None and math.isfinite(bound) else None for bound in (check.low, check.high))
    if low is None or high is None:
        low = high = None
    if check.value is not None and not math.isfinite(check.value):
        return replace(check, value=None, low=None, high=None, passed=False, detail="not a finite number")
    return replace(check, low=low, high=high)


def with_waivers(checks: Sequence[Check], waive: Mapping[str, str]) -> list[Check]:
    """The checks, with the reasons of the recipe's waivers on those that failed."""
    return [replace(check, waived=waive.get(check.name)) if check.passed is False else check for check in checks]


def wins(better: Floats, worse: Floats) -> Floats:
    """1 where ``better`` is higher, 1/2 on a tie, 0 otherwise or if either is NaN, [n]."""
    return np.where(better > worse, 1.0, np.where(better == worse, 0.5, 0.0))
