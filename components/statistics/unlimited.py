"""Bound of the mean of values without limits, from the means of random subsets of the clusters.

It inverts the sign-flip test (:func:`ratchet.components.statistics.paired.sign_flip`). Of "the mean is at least m", p is the
share of sign vectors that make the sum of all S_c - n_c m no larger than it is. A vector that turns the clusters of a subset A
does so where the sum over A is not below 0, that is where m is at most the mean of the values in A. So the bound is a quantile
of the means of random subsets, each of which has each cluster with probability 1/2 (Hartigan 1969, "Using subsample values as
typical values", JASA 64:1303-1317).

It is exact where the sums S_c - n_c m are symmetric, however few the clusters and however unequal their sizes and spreads. No
bound holds for every distribution without limits (Bahadur & Savage 1956, Ann. Math. Statist. 27:1115-1122). Values with a long
upper tail, which a sample has rarely shown, would exceed it most often: for these it is raised by the skewness of the sample.
"""

import math
from collections.abc import Iterator

import numpy as np

from ratchet.components.statistics.intervals import Booleans, Clusters, Floats, cluster_sums

SUBSETS = 4_999
COINS_AT_ONCE = 2**22


def fewest_clusters(alpha: float) -> int:
    """Clusters that a bound at this level needs: that all signs are equal by chance has probability 2^-C."""
    return math.ceil(-math.log2(alpha))


def unlimited_above(values: Floats, alpha: float, clusters: Clusters = None, largest: float | None = None) -> float:
    """One-sided (1 - alpha) upper bound of a mean.

    Infinite with fewer clusters than :func:`fewest_clusters`, or with a value that is not finite.

    Args:
        largest: upper limit of a value, if there is one. If all are equal, no spread is seen; then the bound allows for the
            share of largest values that C clusters miss with probability alpha, 1 - alpha^(1/C) (Clopper & Pearson 1934).
    """
    if len(values) == 0 or not np.isfinite(values).all():
        return math.inf
    sums, sizes = cluster_sums(values, clusters)
    mean, count = float(values.mean()), len(sums)
    if largest is not None and np.ptp(values) == 0:
        return mean + (largest - mean) * (1 - math.exp(math.log(alpha) / count))
    if count < fewest_clusters(alpha):
        return math.inf
    if np.ptp(values) == 0:
        return mean
    return _for_skewness(_typical_above(sums, sizes, alpha), mean, sums - mean * sizes, float(sizes.sum()))


def _typical_above(sums: Floats, sizes: Floats, alpha: float) -> float:
    """The largest mean m that the sign-flip test does not reject: its p is above alpha.

    With B subsets p = (1 + the number of their means that are at least m) / (B + 1), so that of the means in falling order the
    one at place floor(alpha (B + 1)) is the bound.
    """
    order = np.lexsort((sums, sizes))  # the bound does not depend on the order of items or clusters
    both = np.stack([sums[order], sizes[order]])
    means = np.concatenate([_means(both @ chosen) for chosen in _subsets(len(sums), alpha)])
    place = math.floor(alpha * (len(means) + 1) + 1e-9)
    return float(np.partition(means, -place)[-place])


def _means(totals: Floats) -> Floats:
    """From sums and sizes of subsets, [2, m]; of an empty one infinite, because it bounds nothing."""
    return np.where(totals[1] > 0, totals[0] / np.maximum(totals[1], 1.0), math.inf)


def _subsets(clusters: int, alpha: float) -> Iterator[Booleans]:
    """Whether a cluster belongs to a subset, [C, m] at a time: all subsets but the empty one, or random ones of very many."""
    wanted = max(SUBSETS, math.ceil(20 / alpha))
    if 2**clusters <= wanted:
        yield (np.arange(1, 2**clusters) >> np.arange(clusters)[:, None]) & 1 == 1
        return
    draws, at_once = np.random.Generator(np.random.Philox(key=clusters)), max(1, COINS_AT_ONCE // clusters)
    for start in range(0, wanted, at_once):
        yield draws.random((clusters, min(at_once, wanted - start)), dtype=np.float32) < 0.5


def _for_skewness(bound: float, mean: float, rest: Floats, n: float) -> float:
    """A bound raised to where Hall's transformation of the studentized mean, which takes its skewness away, has it.

    With SE = sqrt(sum r^2) / n, a = sum r^3 / (sum r^2)^(3/2) and x = (mean - bound) / SE: mean - SE g(x), with
    g(x) = 3/a ((1 + a (x - a/6))^(1/3) - 1) (Hall 1992, "On the removal of skewness by transformation", JRSS B 54:221-228).

    Args:
        rest: r, the sum of each cluster less what it would be at the mean, [C].
    """
    spread, third = float(np.square(rest).sum()), float((rest**3).sum())
    if third <= 1e-6 * spread * math.sqrt(spread):
        return bound
    error, skewness = math.sqrt(spread) / n, third / (spread * math.sqrt(spread))
    least = float(np.cbrt(1 + skewness * ((mean - bound) / error - skewness / 6))) - 1
    return max(bound, mean - error * 3 / skewness * least)
