"""Paired tests, intervals and power for the gate. Pure functions on arrays."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure with a two-sided interval."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share; the whole unit interval where n is 0."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    interval = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return Interval(successes / n, float(interval.low), float(interval.high), n)


class McNemar(NamedTuple):
    """Counts of discordant items and the one-sided p-value."""

    wins: int
    losses: int
    p_value: float


def mcnemar(challenger: Booleans, incumbent: Booleans) -> McNemar:
    """Exact one-sided McNemar test of "the challenger is right more often", on paired items, both [n].

    Of the discordant items, wins are Binomial(n_d, 1/2) under the null; without any, p is 1.
    """
    assert challenger.shape == incumbent.shape
    wins, losses = int((challenger & ~incumbent).sum()), int((incumbent & ~challenger).sum())
    p_value = stats.binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
    return McNemar(wins, losses, float(p_value))


def upper_bound(values: Floats, alpha: float) -> float:
    """One-sided (1 - alpha) upper bound of a mean, by Student's t; infinite where fewer than two values are given."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.inf
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() + stats.t.ppf(1 - alpha, len(values) - 1) * error)


def lower_bound_share(successes: int, n: int, alpha: float) -> float:
    """One-sided (1 - alpha) Clopper-Pearson lower bound of a share; 0 where n is 0."""
    return float(stats.beta.ppf(alpha, successes, n - successes + 1)) if successes else 0.0


def minimum_detectable_effect(discordance: float, n: int, alpha: float, power: float = 0.8) -> float:
    """Smallest gain in accuracy that a paired one-sided test at ``alpha`` sees with ``power``.

    Solves delta = (z_{1-alpha} + z_power) sqrt((p_disc - delta^2) / n) for delta, p_disc the share of discordant items.
    """
    if n == 0:
        return math.inf
    factor = (stats.norm.ppf(1 - alpha) + stats.norm.ppf(power)) ** 2 / n
    return math.sqrt(factor * discordance / (1 + factor))


def items_needed(discordance: float, effect: float, alpha: float, power: float = 0.8) -> int:
    """Items for which :func:`minimum_detectable_effect` is at most ``effect``."""
    factor = (stats.norm.ppf(1 - alpha) + stats.norm.ppf(power)) ** 2
    return max(1, math.ceil(float(factor) * (discordance - effect**2) / effect**2))


def power_to_detect(effect: float, discordance: float, n: int, alpha: float) -> float:
    """Chance that a paired one-sided test at ``alpha`` sees a gain in accuracy of ``effect`` on n items (normal approximation).

    Phi(effect sqrt(n) / omega - z_{1-alpha}), omega^2 = discordance - effect^2 (Miller 2024, arXiv:2411.00640).
    """
    assert effect**2 < discordance
    return float(stats.norm.cdf(effect * math.sqrt(n / (discordance - effect**2)) - stats.norm.ppf(1 - alpha)))
