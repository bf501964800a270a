"""Paired tests: exact McNemar, cluster sign-flip permutation, approximate randomization, clustered t. Pure functions on arrays.

Each is one-sided, of "the challenger is better" on the same n items; ``clusters`` [n] names the cluster of each value.

p = 1 without data, with only ties, or with a value that is not finite.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from ratchet.components.statistics.intervals import Booleans, Clusters, Floats, cluster_sums, jackknife, total_by_cluster

SIGNS_AT_ONCE = 2**22  # signs in memory at a time
FIRST_DRAWS = 256  # of a test; the number doubles as long as the test has not stopped


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


def sign_flip(
    differences: Floats, clusters: Clusters, draws: np.random.Generator, resamples: int, enough: int | None = None
) -> float:
    """Permutation test of "the mean difference is above 0": under the null each cluster's sign is a fair coin.

    p = (b + 1) / (B + 1), b the number of B random sign vectors whose sum reaches the observed one (Phipson & Smyth 2010).
    Clusters are sorted by size first, so that p does not depend on the order of items or clusters.

    Args:
        differences: challenger minus incumbent, [n].
        draws: fixes the signs, and so p.
        resamples: B.
        enough: the number of vectors that reach the observed sum at which the test may stop, because p is large.
    """
    if len(differences) == 0 or not np.isfinite(differences).all():
        return 1.0
    sums, _ = cluster_sums(differences, clusters)
    weights = np.sort(np.abs(sums[sums != 0]))
    if len(weights) == 0:
        return 1.0
    # Two sums that are equal on paper may differ in the last bits: a tie must count against the challenger.
    threshold = sums.sum() - 1e-9 * weights.sum()
    reaches = lambda plus: 2 * (plus @ weights) - weights.sum() >= threshold  # noqa: E731
    return _resampled(reaches, len(weights), draws, resamples, enough)


def approximate_randomization(
    challenger: Floats,
    incumbent: Floats,
    measure: Callable[[Floats], Floats],
    clusters: Clusters,
    draws: np.random.Generator,
    resamples: int,
    enough: int | None = None,
) -> float:
    """Randomization test of "the challenger's measure of the whole corpus is higher" (Noreen 1989; Riezler & Maxwell 2005).

    Under the null the arms' outputs on a cluster are exchangeable: each is swapped by a fair coin, and the measure of both
    arms is computed again. p as in :func:`sign_flip`.

    Args:
        challenger: each item's contribution to the totals that the measure is computed from, such as counts, [n, *d].
        incumbent: [n, *d].
        measure: totals [..., *d] to the measure [...]; more is better.
        draws: fixes the swaps, and so p.
        resamples: B.
        enough: as in :func:`sign_flip`.
    """
    assert challenger.shape == incumbent.shape
    ours, theirs = challenger.sum(axis=0), incumbent.sum(axis=0)
    observed = float(measure(ours) - measure(theirs)) if len(challenger) else math.nan
    if not math.isfinite(observed):
        return 1.0
    changes = total_by_cluster(incumbent - challenger, clusters).reshape(-1, ours.size)
    changes = changes[np.lexsort(changes.T)]  # p does not depend on the order of items or clusters
    changes = changes[changes.any(axis=1)]
    if len(changes) == 0:
        return 1.0

    def reaches(swapped: Booleans) -> Booleans:
        moved = (swapped @ changes).reshape(-1, *ours.shape)
        reached: Booleans = ~(measure(ours + moved) - measure(theirs - moved) < observed - 1e-9)  # NaN counts against it
        return reached

    return _resampled(reaches, len(changes), draws, resamples, enough)


def _resampled(
    reaches: Callable[[Booleans], Booleans], size: int, draws: np.random.Generator, resamples: int, enough: int | None
) -> float:
    """p of a resampling test: (b + 1) / (B + 1); or h / l if the draw number l is the h-th to reach the observed statistic.

    Both are valid p-values, the second by Besag & Clifford (1991).

    Args:
        reaches: coins [m, size] to whether the statistic under these coins reaches the observed one, [m].
        enough: h; None draws all B.
    """
    reached, drawn, next_draws = 0, 0, FIRST_DRAWS if enough else resamples
    while drawn < resamples:
        count = min(next_draws, max(1, SIGNS_AT_ONCE // size), resamples - drawn)
        hits = np.flatnonzero(reaches(draws.random((count, size), dtype=np.float32) < 0.5))
        if enough is not None and reached + len(hits) >= enough:
            return float(enough / (drawn + hits[enough - reached - 1] + 1))
        reached, drawn, next_draws = reached + len(hits), drawn + count, 2 * next_draws
    return (reached + 1) / (resamples + 1)


def clustered_t(differences: Floats, clusters: Clusters) -> float:
    """p-value of "the mean difference is above 0" by Student's t on the clustered standard error.

    Error and degrees of freedom are those of :func:`ratchet.components.statistics.intervals.jackknife`.

    If every cluster has exactly the same value, p is 2^-C (the probability of equal signs), not 0.
    """
    if len(differences) == 0 or not np.isfinite(differences).all():
        return 1.0
    return float(clustered_t_of(*cluster_sums(differences, clusters)))


def clustered_t_of(sums: Floats, sizes: Floats) -> Floats:
    """:func:`clustered_t` of clusters by their sums and sizes, both [C, *d]: p of each test, [*d]."""
    if len(sums) < 2:
        return np.ones(sums.shape[1:])
    error, freedom = jackknife(sums, sizes)
    mean = sums.sum(axis=0) / sizes.sum(axis=0)
    alike = error <= 1e-12 * np.abs(mean)
    p_values: Floats = special.stdtr(freedom, -mean / np.where(alike, 1.0, error))
    return np.where(alike, np.where(mean > 0, 0.5 ** len(sums), 1.0), p_values)
