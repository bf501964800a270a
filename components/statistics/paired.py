"""Paired tests: exact McNemar, cluster sign-flip permutation, clustered t. Pure functions on arrays.

Each is one-sided, of "the challenger is better" on the same n items; ``clusters`` [n] names the cluster of each value.

p = 1 without data, with only ties, or with a value that is not finite.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ratchet.components.statistics.intervals import Booleans, Clusters, Floats, cluster_sums, standard_error

SIGNS_AT_ONCE = 2**22  # signs in memory at a time


class McNemar(NamedTuple):
    """Counts of discordant items and the one-sided p-value."""

    wins: int
    losses: int
    p_value: float


def exact_mcnemar(challenger: Booleans, incumbent: Booleans) -> McNemar:
    """Exact one-sided McNemar test of "the challenger is right more often" (McNemar 1947, conditional on discordance).

    Of the n_d discordant items, wins are Binomial(n_d, 1/2) under the null: p = P(X >= wins). Without any, p is 1.

    Args:
        challenger: whether it is right, [n].
        incumbent: [n].
    """
    assert challenger.shape == incumbent.shape
    wins, losses = int((challenger & ~incumbent).sum()), int((incumbent & ~challenger).sum())
    # scipy's binomtest gives the same, a hundred times slower.
    p_value = special.bdtrc(wins - 1, wins + losses, 0.5) if wins + losses else 1.0
    return McNemar(wins, losses, float(p_value))


def resamples_for(alpha: float) -> int:
    """Permutations that resolve a p-value at ``alpha``: at least 19,999, and 20 beyond each side of the level."""
    return max(19_999, math.ceil(20 / alpha))


def sign_flip(differences: Floats, clusters: Clusters, draws: np.random.Generator, resamples: int) -> float:
    """Permutation test of "the mean difference is above 0": under the null each cluster's sign is a fair coin.

    p = (b + 1) / (B + 1), b the number of B random sign vectors whose sum reaches the observed one (Phipson & Smyth 2010).
    Clusters are sorted by size first, so that p does not depend on the order of items or clusters.

    Args:
        differences: challenger minus incumbent, [n].
        draws: fixes the signs, and so p.
        resamples: B.
    """
    if len(differences) == 0 or not np.isfinite(differences).all():
        return 1.0
    sums, _ = cluster_sums(differences, clusters)
    weights = np.sort(np.abs(sums[sums != 0]))
    if len(weights) == 0:
        return 1.0
    # Two sums that are equal on paper may differ in the last bits: a tie must count against the challenger.
    threshold = sums.sum() - 1e-9 * weights.sum()
    reached, at_once = 0, max(1, SIGNS_AT_ONCE // len(weights))
    for start in range(0, resamples, at_once):
        plus = draws.random((min(at_once, resamples - start), len(weights)), dtype=np.float32) < 0.5
        reached += int((2 * (plus @ weights) - weights.sum() >= threshold).sum())
    return (reached + 1) / (resamples + 1)


def clustered_t(differences: Floats, clusters: Clusters) -> float:
    """p-value of "the mean difference is above 0" by Student's t on the clustered standard error, C - 1 degrees of freedom.

    The error is :func:`ratchet.components.statistics.intervals.standard_error` (Miller 2024, arXiv:2411.00640).

    If every cluster has exactly the same value, p is 2^-C (the probability of equal signs), not 0.
    """
    if not np.isfinite(differences).all():
        return 1.0
    error, count = standard_error(differences, clusters)
    if count < 2:
        return 1.0
    mean = float(differences.mean())
    if error <= 1e-12 * abs(mean):
        return 0.5**count if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, count - 1)) if error > 0 else 1.0
