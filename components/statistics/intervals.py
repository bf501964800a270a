"""Means and shares with their uncertainty. Pure functions on arrays.

Notation: n values, C clusters; ``clusters`` [n] numbers the cluster of each value, and None makes every value its own.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Interval(NamedTuple):
    """A figure with a two-sided interval; NaN where too little was measured to know."""

    value: float
    low: float
    high: float
    n: int
    error: float = math.nan  # standard error


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share; the whole unit interval where n is 0."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    interval = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    share = successes / n
    return Interval(share, float(interval.low), float(interval.high), n, math.sqrt(share * (1 - share) / n))


def cluster_sums(values: Floats, clusters: Integers | None) -> Floats:
    """The sum of each cluster's values, [C]."""
    if clusters is None:
        return values
    _, numbers = np.unique(clusters, return_inverse=True)
    return np.bincount(numbers, weights=values).astype(np.float64)


def standard_error(values: Floats, clusters: Integers | None = None) -> tuple[float, int]:
    """The standard error of a mean, and the number of clusters C; NaN where C is below 2.

    SE^2 = (1/n^2) C/(C-1) sum_c (sum_{i in c} (d_i - dbar))^2 (Miller 2024, arXiv:2411.00640, appendix A); with clusters of
    one it is s^2 / n.
    """
    if len(values) == 0:
        return math.nan, 0
    sums = cluster_sums(values - values.mean(), clusters)
    count = len(sums)
    if count < 2:
        return math.nan, count
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(values)), count


def mean_interval(values: Floats, clusters: Integers | None = None) -> Interval:
    """A mean with its normal 95% interval. ``n`` counts the values."""
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean, (error, _) = float(values.mean()), standard_error(values, clusters)
    return Interval(mean, mean - 1.96 * error, mean + 1.96 * error, len(values), error)


def upper_bound(values: Floats, alpha: float, clusters: Integers | None = None, largest: float | None = None) -> float:
    """One-sided (1 - alpha) upper bound of a mean, by Student's t with C - 1 degrees of freedom.

    Infinite where there are fewer than two clusters, or a value is not finite.

    Args:
        largest: what a value can be at most. Where all are equal, Student's t sees no spread at all; then the bound allows for
            the share of largest values of which C clusters show none with chance alpha, 1 - alpha^(1/C) (Clopper-Pearson).
    """
    if not np.isfinite(values).all():
        return math.inf
    error, count = standard_error(values, clusters)
    if count < 2:
        return math.inf
    mean = float(values.mean())
    if largest is not None and np.ptp(values) == 0:
        return mean + (largest - mean) * (1 - math.exp(math.log(alpha) / count))
    return mean + float(special.stdtrit(count - 1, 1 - alpha)) * error


def lower_bound(values: Floats, alpha: float, clusters: Integers | None = None, least: float | None = None) -> float:
    """One-sided (1 - alpha) lower bound of a mean. Non-inferior with margin M: the bound of the differences is above -M."""
    return -upper_bound(-values, alpha, clusters, None if least is None else -least)


def lower_bound_share(successes: int, n: int, alpha: float) -> float:
    """One-sided (1 - alpha) Clopper-Pearson lower bound of a share; 0 where n is 0."""
    return float(stats.beta.ppf(alpha, successes, n - successes + 1)) if successes else 0.0
