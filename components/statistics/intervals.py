"""Means and shares with their uncertainty. Pure functions on arrays.

Notation: n values, C clusters; ``clusters`` [n] names the cluster of each value, because samples of one prompt are not
independent, and None makes every value its own cluster.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Clusters = Sequence[Hashable] | Integers | None


class Interval(NamedTuple):
    """A figure with a two-sided interval, of level 0.95 unless one is given; NaN if there are too few measurements.

    ``n`` counts what the figure is of: values, as in :func:`mean_interval`, or clusters, as in :func:`clustered_mean`.
    """

    value: float
    low: float
    high: float
    n: int
    error: float = math.nan  # standard error


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of ``n`` trials (Wilson 1927); the whole unit interval if n is 0.

    (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n).

    Args:
        n: at least 0, not necessarily whole: an effective sample size.
    """
    if n == 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + 0.5 * level))
    # Operations in the order of scipy's binomtest(...).proportion_ci, equal to the last bit; that accepts only integer counts.
    denominator = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / denominator
    half = z / denominator * math.sqrt(4 * n * share * (1 - share) + z**2)
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def share_interval(successes: int, n: int) -> Interval:
    """A share of independent trials with Wilson's interval."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    share = successes / n
    return Interval(share, *wilson(share, n), n, math.sqrt(share * (1 - share) / n))


def cluster_sums(values: Floats, clusters: Clusters) -> tuple[Floats, Floats]:
    """Sum and count of each cluster's values, in order of first appearance, both [C]."""
    if clusters is None:
        return values, np.ones(len(values))
    names = clusters.tolist() if isinstance(clusters, np.ndarray) else clusters
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    places = np.array([numbers[name] for name in names], dtype=int)
    sums = np.bincount(places, values, len(numbers)).astype(np.float64)
    return sums, np.bincount(places, minlength=len(numbers)).astype(np.float64)


def total_by_cluster(contributions: Floats, clusters: Clusters) -> Floats:
    """The sum of each cluster's contributions, [n, *d] to [C, *d], in the order of :func:`cluster_sums`."""
    if clusters is None:
        return contributions
    columns = contributions.reshape(len(contributions), -1).T
    totals = np.stack([cluster_sums(column, clusters)[0] for column in columns], axis=1)
    return totals.reshape(-1, *contributions.shape[1:])


def pseudo_values(contributions: Floats, measure: Callable[[Floats], Floats]) -> Floats:
    """The jackknife's pseudo-values n M - (n - 1) M_(-i) of a measure M of a corpus, [n] (Tukey 1958; Efron & Stein 1981).

    Their mean estimates the measure, and its standard error is the measure's: of a mean they are the values themselves, and
    of every smooth measure nearly independent of one another, so that tests, bounds and intervals of means apply. Where the
    measure does not exist without an item, its value is NaN.

    Args:
        contributions: of each item to the totals that the measure is computed from, [n, *d].
        measure: totals [..., *d] to the measure [...].
    """
    n, totals = len(contributions), contributions.sum(axis=0)
    values: Floats = n * measure(totals) - (n - 1) * measure(totals - contributions)
    return values


def clustered_share(numerators: Floats, denominators: Floats, level: float = 0.95) -> Interval:
    """A share pooled over clusters, sum(num) / sum(den), with Wilson's interval at the effective sample size.

    The variance is that of a ratio of cluster sums (linearised, with C / (C - 1)); the effective size is p (1 - p) / variance
    (Korn & Graubard 1998), the number of clusters if that variance is 0. The whole unit interval without clusters.

    Args:
        numerators: [C].
        denominators: [C]; a cluster of 0 is left out.

    Returns:
        The share; ``n`` counts clusters.
    """
    kept = denominators > 0
    numerators, denominators = numerators[kept], denominators[kept]
    clusters, total = len(denominators), float(denominators.sum())
    if clusters == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    share = float(numerators.sum()) / total
    size = float(clusters)
    if clusters > 1 and 0 < share < 1:
        variance = float(((numerators - share * denominators) ** 2).sum()) / total**2 * clusters / (clusters - 1)
        size = share * (1 - share) / variance if variance > 0 else size
    return Interval(share, *wilson(share, size, level), clusters)


def jackknife(sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Standard error of a mean of clustered values, sum(sums) / sum(sizes), and its degrees of freedom.

    With N values, n_c and S_c the size and sum of cluster c, of C, and m the mean: m without cluster c differs from m by
    (S_c - n_c m) / (N - n_c), and SE^2 = (C - 1)/C sum_c ((S_c - n_c m) / (N - n_c))^2, the delete-one-cluster jackknife
    (MacKinnon, Nielsen & Webb 2023, J. Econometrics 232:272-299). It is s^2 / N where each value is its own cluster.

    The degrees of freedom are Satterthwaite's, as those of Bell & McCaffrey (2002, Survey Methodology 28:169-181): with
    q_c = n_c / (N - n_c), (sum q)^2 / (sum (q^2 - q^4) + (sum q^2)^2). They are C - 1 for clusters of one size, and near 1
    where one cluster is most of the data.

    Args:
        sums: [C, *d], C at least 2.
        sizes: [C, *d].
    """
    count, others = len(sums), sizes.sum(axis=0) - sizes
    rest = (sums - sizes * (sums.sum(axis=0) / sizes.sum(axis=0))) / others
    squares = (sizes / others) ** 2
    total = squares.sum(axis=0)
    freedom = (sizes / others).sum(axis=0) ** 2 / (total - np.square(squares).sum(axis=0) + total**2)
    return np.sqrt((count - 1) / count * np.square(rest).sum(axis=0)), freedom


def half_width(error: float, freedom: float, level: float = 0.95) -> float:
    """Half of Student's interval: its quantile times the standard error."""
    return float(special.stdtrit(freedom, 0.5 + 0.5 * level)) * error


def clustered_mean(sums: Floats, counts: Floats, level: float = 0.95) -> Interval:
    """Mean of clustered values, sum(sums) / sum(counts), with Student's interval on the errors of :func:`jackknife`.

    Args:
        sums: [C].
        counts: [C].

    Returns:
        The mean; ``n`` counts clusters. Without an interval if C is below 2.
    """
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, -math.inf, math.inf, len(sums))
    error, freedom = map(float, jackknife(sums, counts))
    half = half_width(error, freedom, level)
    return Interval(mean, mean - half, mean + half, len(sums), error)


def bootstrap_bounds(
    statistic: Callable[[Integers], float],
    value: float,
    clusters: int,
    level: float,
    random: np.random.Generator,
    draws: int = 400,
) -> tuple[float, float]:
    """Basic bootstrap over clusters (Davison & Hinkley 1997, section 5.2), for a figure without a formula for its error.

    Resamples are biased from the figure as the figure is from the truth, so their quantiles are reflected at it.

    Args:
        statistic: the figure of a resample, given the numbers of its clusters [C], some of them repeated.
        value: the figure itself.
        clusters: C, at least 1.
    """
    figures = [statistic(random.integers(0, clusters, clusters)) for _ in range(draws)]
    low, high = np.quantile(figures, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return 2 * value - float(high), 2 * value - float(low)


def standard_error(values: Floats, clusters: Clusters = None) -> tuple[float, float]:
    """The standard error of a mean and its degrees of freedom, by :func:`jackknife`; NaN with fewer than two clusters."""
    sums, sizes = cluster_sums(values, clusters)
    if len(sums) < 2:
        return math.nan, math.nan
    error, freedom = jackknife(sums, sizes)
    return float(error), float(freedom)


def mean_interval(values: Floats, clusters: Clusters = None) -> Interval:
    """A mean with Student's 95% interval. ``n`` counts the values."""
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean, (error, freedom) = float(values.mean()), standard_error(values, clusters)
    half = half_width(error, freedom)
    return Interval(mean, mean - half, mean + half, len(values), error)


def lower_bound_share(successes: int, n: int, alpha: float) -> float:
    """One-sided (1 - alpha) lower bound of a share (Clopper & Pearson 1934); 0 if n is 0."""
    return float(stats.beta.ppf(alpha, successes, n - successes + 1)) if successes else 0.0
