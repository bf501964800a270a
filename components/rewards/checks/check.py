"""The result of a validation: checks with figure, interval, threshold and remedy; a report with its waivers."""

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
    value: float | None  # None: not measured; ``detail`` says why
    low: float | None
    high: float | None
    threshold: float
    passed: bool
    advice: str
    detail: str = ""
    waived: str | None = None  # the recipe's reason for accepting a failure

    @property
    def blocks(self) -> bool:
        """Whether it prevents training."""
        return not self.passed and self.waived is None


def measured(
    name: str, figure: Interval, threshold: float, passed: bool, advice: str, detail: str = "", bounded: bool = True
) -> Check:
    """A check of a figure with an interval; with ``bounded`` false the interval is ignored."""
    low, high = (figure.low, figure.high) if bounded else (None, None)
    return Check(name, figure.value, low, high, threshold, passed, advice, detail)


MORE_PAIRS = (
    "Give the rows chosen and rejected, or a file of pairs in data.source.pairs: near misses are derived only from answers "
    "that end in '#### N', N an integer. If the rows do have pairs, raise data.split.pairs."
)
NO_PAIRS = f"{MORE_PAIRS} Without pairs, reward.validation.waive can accept this check by name, with a reason."


def unmeasured(name: str, threshold: float, passed: bool, advice: str, detail: str) -> Check:
    """A check without a figure."""
    return Check(name, None, None, None, threshold, passed, advice, detail)


@dataclass(frozen=True)
class RewardReport:
    """A reward's validation; it passes only if every check passes or is waived by name with a reason."""

    kind: str
    checks: list[Check]
    pilot: Mapping[str, Any] = field(default_factory=dict)  # input of the advice
    curves: Mapping[str, Any] = field(default_factory=dict)  # reliability and best-of-n, for plots
    identity: Mapping[str, str] = field(default_factory=dict)  # digests of what was validated

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not any(check.blocks for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed and are not waived."""
        return [check.name for check in self.checks if check.blocks]

    @property
    def waived(self) -> dict[str, str]:
        """Failed checks that the recipe waives, with its reasons."""
        return {check.name: check.waived for check in self.checks if not check.passed and check.waived is not None}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed, "failed": self.failed, "waived": self.waived}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RewardReport":
        checks = [Check(**check) for check in value["checks"]]
        return cls(value["kind"], checks, value["pilot"], value["curves"], value["identity"])


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
    return [replace(check, waived=waive.get(check.name)) if not check.passed else check for check in checks]


def wins(better: Floats, worse: Floats) -> Floats:
    """1 where ``better`` is higher, 1/2 on a tie, 0 otherwise or if either is NaN, [n]."""
    return np.where(better > worse, 1.0, np.where(better == worse, 0.5, 0.0))
