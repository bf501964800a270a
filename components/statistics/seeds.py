"""Figures of few paired trainings, one per seed: means, differences and ratios by Student's t. Pure functions on arrays.

Notation: n seeds; two arms trained with the same seeds are compared seed by seed.
"""

import math

import numpy as np
from scipy import stats

from ratchet.components.statistics.intervals import Floats, Interval, clustered_mean


def over_seeds(values: Floats) -> Interval:
    """A mean over seeds with Student's 95% interval on n - 1 degrees of freedom; without an interval if n is 1.

    Args:
        values: [n], n at least 1.
    """
    return clustered_mean(values, np.ones(len(values)))


def paired_difference(first: Floats, second: Floats) -> Interval:
    """Second minus first, each [n] and in the order of the seeds."""
    assert first.shape == second.shape
    return over_seeds(second - first)


def paired_ratio(first: Floats, second: Floats) -> Interval | None:
    """The geometric mean of second / first over seeds; the interval is Student's on the logarithms.

    None if a value is not positive.
    """
    assert first.shape == second.shape
    if min(first.min(), second.min()) <= 0:
        return None
    found = over_seeds(np.log(second) - np.log(first))
    return Interval(math.exp(found.value), _exp(found.low), _exp(found.high), found.n)


def _exp(value: float) -> float:
    """Of an interval that n = 1 leaves infinite too."""
    return 0.0 if value == -math.inf else math.inf if value > 700 else math.exp(value)


def detectable_difference(error: float, n: int, power: float = 0.8) -> float:
    """Smallest true mean difference that a two-sided paired t-test at 0.05 sees with ``power``.

    (t_{0.975} + t_{power}) x error, both quantiles on n - 1 degrees of freedom: the usual approximation to the noncentral t.
    Infinite if n is 1.

    Args:
        error: standard error of the mean difference.
    """
    if n < 2:
        return math.inf
    return float(stats.t.ppf(0.975, n - 1) + stats.t.ppf(power, n - 1)) * error
