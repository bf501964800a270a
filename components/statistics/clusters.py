"""Shares, means and curves with intervals that know which figures come from one prompt. Pure functions on arrays."""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
FEWEST = 10  # pairs on which a subset is judged
Z = 1.959963984540054  # of a two-sided 95% interval


class Interval(NamedTuple):
    """A figure with its two-sided 95% interval; ``n`` counts clusters (prompts)."""

    value: float
    low: float
    high: float
    n: int


def wins(better: Floats, worse: Floats) -> Floats:
    """1 where ``better`` is higher, 1/2 on a tie, 0 elsewhere and where either is NaN, [n]."""
    return np.where(better > worse, 1.0, np.where(better == worse, 0.5, 0.0))


def cluster_sums(values: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sum and count of the values of each cluster, in order of first appearance, both [G]."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    places = np.array([numbers[name] for name in clusters], dtype=int)
    sums = np.bincount(places, values, len(numbers)).astype(np.float64)
    return sums, np.bincount(places, minlength=len(numbers)).astype(np.float64)


def clustered_share(numerators: Floats, denominators: Floats) -> Interval:
    """A share pooled over clusters, sum(num) / sum(den), with Wilson's interval at the effective sample size.

    The variance is that of a ratio of cluster sums (linearised, with G / (G - 1)); the effective size is p (1 - p) / variance
    (Korn & Graubard 1998), the number of clusters where that variance is 0. The whole unit interval without clusters.
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
    return Interval(share, *wilson(share, size), clusters)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share of ``n`` (not necessarily whole) trials."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_mean(sums: Floats, counts: Floats) -> Interval:
    """Mean of values that come in clusters, sum(sums) / sum(counts), with Student's interval on G - 1 degrees of freedom."""
    clusters = len(sums)
    mean = float(sums.sum() / counts.sum())
    if clusters < 2:
        return Interval(mean, -math.inf, math.inf, clusters)
    variance = float(((sums - mean * counts) ** 2).sum()) / float(counts.sum()) ** 2 * clusters / (clusters - 1)
    half = float(stats.t.ppf(0.975, clusters - 1)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, clusters)


def discordant_wins(values: Floats, gold: Floats) -> tuple[float, float]:
    """Of the pairs (right, wrong) among one prompt's samples: how many are ordered rightly (ties half), and their number."""
    right, wrong = values[gold > 0], values[gold == 0]
    ordered = wins(np.repeat(right, len(wrong)), np.tile(wrong, len(right)))
    return float(ordered.sum()), float(len(ordered))


def best_of_n(proxy: Floats, target: Floats, n: int) -> float:
    """Expected target of the sample with the highest proxy among ``n`` drawn without replacement from one prompt's samples.

    Unbiased; samples of equal proxy are equally likely to be taken.

    Args:
        proxy: [k].
        target: [k].
    """
    k = len(proxy)
    subsets, total, below = math.comb(k, n), 0.0, 0
    for value in np.unique(proxy):
        block = proxy == value
        upto = below + int(block.sum())
        total += (math.comb(upto, n) - math.comb(below, n)) / subsets * float(target[block].mean())
        below = upto
    return total


def best_of_n_kl(n: int) -> float:
    """Upper bound of the KL of best-of-n to the policy, log n - (n - 1) / n nats (Beirami et al. 2024, arXiv:2401.01879)."""
    return math.log(n) - (n - 1) / n


def sizes_up_to(k: int) -> list[int]:
    """1, 2, 4, ... and k."""
    return sorted({2**i for i in range(int(math.log2(k)) + 1)} | {k})
