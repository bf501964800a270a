"""Gaffke's test and bound of the mean of values with a known limit: no symmetry, normality or large sample is needed.

One more item, of the least value that there can be, joins the n observed ones, and all are weighted at random (Dirichlet(1,
..., 1)): p is the probability that the weighted mean is not above 0 (Gaffke 2005, "Three test statistics for a nonparametric
one-sided hypothesis on the mean of a nonnegative variable"; Learned-Miller & Thomas 2019, arXiv:1905.06208). For values of two
kinds it is the exact binomial test (Clopper & Pearson 1934). That its level holds for every other distribution is conjectured:
nobody has proved it, or found an exception.

A Dirichlet weight is an exponential variable over their sum, so p = P(S <= 0) with S = sum_i w_i E_i. With K(s) = -sum_i
log(1 - s w_i) the logarithm of its moment-generating function, and u = 1/s, p is the integral of exp(K)/(2 pi i u) du around a
circle through 0 and the saddle point, which the trapezoid rule gives to many digits if the mean is not below 0. If it is, p is
1 - P(-S < 0), which is the same because S is continuous; where no value is above 0, S is below it and p is 1.
"""

import math

import numpy as np

from ratchet.components.statistics.intervals import Clusters, Floats, cluster_sums

POINTS = 256  # of the circle; the integrand is the same, conjugated, on both of its halves
BISECTIONS = 50


def gaffke(differences: Floats, clusters: Clusters, least: float) -> float:
    """p-value of "the mean difference is above 0", one-sided.

    Clusters count by their sums, whose least value is that of the largest cluster.

    p is 1 without data, or with a value that is not finite.

    Args:
        differences: challenger minus incumbent, [n].
        clusters: the cluster of each, [n].
        least: the least value that a difference can have, below 0.
    """
    if len(differences) == 0 or not np.isfinite(differences).all():
        return 1.0
    sums, sizes = cluster_sums(differences, clusters)
    # Sorted, so that p does not depend on the order of items or clusters, not even in its last bits.
    return float(tail(np.sort(sums)[:, None], least * sizes.max())[0])


def bounded_above(values: Floats, alpha: float, clusters: Clusters, largest: float) -> float:
    """One-sided (1 - alpha) upper bound of a mean: the least that :func:`gaffke` rejects at ``alpha``.

    Infinite without data, or with a value that is not finite.

    Args:
        largest: upper limit of a value, and so of the bound.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        return math.inf
    low, high = float(values.mean()), largest
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        rejected = middle < largest and gaffke(middle - values, clusters, middle - largest) <= alpha
        low, high = (low, middle) if rejected else (middle, high)
    return high


def tail(values: Floats, least: float, points: int = POINTS) -> Floats:
    """P(sum_i w_i E_i <= 0), E_i independent and exponential, for the weights of each column and one more of ``least``, [R].

    Args:
        values: [n, R], none below ``least``.
        least: below 0.
        points: of the circle; few serve where 1% of p is enough.
    """
    weights = np.concatenate([values, np.full((1, values.shape[1]), least)])
    weights /= np.abs(weights).max(axis=0)
    # Of a mean far below 0 the saddle point is so near to 0 that the integrand turns more often than there are points.
    below = weights.sum(axis=0) < 0
    shares = _left(np.where(below, -weights, weights), points)
    return np.where(below, 1 - shares, shares)


def _left(weights: Floats, points: int) -> Floats:
    """P(sum_i w_i E_i < 0) of weights whose sum is not below 0, [R]; 0 where no weight is below 0."""
    total, some = np.zeros(weights.shape[1]), weights.min(axis=0) < 0
    weights = weights[:, some]
    saddle = _saddle(weights)
    for turn in np.exp(2j * np.pi * (np.arange(points // 2) + 0.5) / points):
        u = (turn - 1) / (-2 * saddle)  # on the circle whose diameter is from 1 / saddle to 0
        total[some] += np.real(np.exp(-np.log1p(-weights / u).sum(axis=0)) / u * turn / -saddle)
    shares: Floats = np.clip(total / points, 0.0, 1.0)
    return shares


def _saddle(weights: Floats) -> Floats:
    """Where K(s) - log(-s) is least between 1 / (the least weight) and 0, [R]; it is convex there."""
    low: Floats = 1 / weights.min(axis=0)
    high: Floats = np.zeros(weights.shape[1])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        rises = (weights / (1 - middle * weights)).sum(axis=0) > 1 / middle
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    return (low + high) / 2
