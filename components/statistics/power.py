"""The smallest gain that a test detects, and the items it needs.

By normal approximations (Miller 2024, arXiv:2411.00640), and for tests that are not of that kind by simulation.

The deviation omega is that of the paired differences of single items (of clusters, if items are clustered). For right
or wrong with one sample per item, omega^2 = p_disc - delta^2, p_disc the share of discordant items.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from scipy import stats

from ratchet.components.statistics.bounded import tail
from ratchet.components.statistics.intervals import Clusters, Floats, cluster_sums
from ratchet.components.statistics.paired import clustered_t_of, resamples_for

RUNS = 400  # simulated tests: a power of 0.8 is known within 0.02 (one standard error)
SIMULATED = 1_000  # clusters; above, the normal approximation is as close as 400 runs are
SIGNS_AT_ONCE = 2**23
FEW_POINTS = 32  # of an integral: p within 1%


def _quantiles(alpha: float, power: float) -> float:
    """z_{1-alpha} + z_power."""
    return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))


def minimum_detectable_effect(discordance: float, n: int, alpha: float, power: float = 0.8) -> float:
    """Smallest gain in accuracy that a paired one-sided test at ``alpha`` detects with ``power``.

    Solves delta = (z_{1-alpha} + z_power) sqrt((p_disc - delta^2) / n) for delta.
    """
    if n == 0:
        return math.inf
    factor = _quantiles(alpha, power) ** 2 / n
    return math.sqrt(factor * discordance / (1 + factor))


def items_needed(discordance: float, effect: float, alpha: float, power: float = 0.8) -> int:
    """Items for which :func:`minimum_detectable_effect` is at most ``effect``."""
    return max(1, math.ceil(_quantiles(alpha, power) ** 2 * (discordance - effect**2) / effect**2))


def power_to_detect(effect: float, discordance: float, n: int, alpha: float) -> float:
    """Probability that a paired one-sided test at ``alpha`` detects a gain in accuracy of ``effect`` on n items.

    Phi(effect sqrt(n) / omega - z_{1-alpha}), omega^2 = discordance - effect^2.
    """
    assert effect**2 < discordance
    return power_of_mean(effect, math.sqrt(discordance - effect**2), n, alpha)


def detectable_mean(deviation: float, n: int, alpha: float, power: float = 0.8) -> float:
    """Smallest mean difference that a one-sided test at ``alpha`` detects with ``power``.

    (z_{1-alpha} + z_power) omega / sqrt(n).
    """
    return _quantiles(alpha, power) * deviation / math.sqrt(n) if n else math.inf


def items_for_mean(deviation: float, effect: float, alpha: float, power: float = 0.8) -> int:
    """Items for which :func:`detectable_mean` is at most ``effect``."""
    return max(1, math.ceil((_quantiles(alpha, power) * deviation / effect) ** 2))


def power_of_mean(effect: float, deviation: float, n: int, alpha: float) -> float:
    """Probability that a one-sided test at ``alpha`` detects a mean difference of ``effect`` on n items.

    Phi(effect sqrt(n) / omega - z_{1-alpha}).
    """
    return float(stats.norm.cdf(effect * math.sqrt(n) / deviation - stats.norm.ppf(1 - alpha)))


class SimulatedPower(ABC):
    """Power of a test on clusters like those observed, in which the gain is as large as asked.

    Simulated up to ``most`` clusters, which are drawn from the observed ones with replacement; above that, by the normal
    approximation. The same draws serve every effect, so that power rises with it.
    """

    most = SIMULATED

    def __init__(self, deviation: float, alpha: float, threshold: float = 0.0) -> None:
        """Args:
        deviation: of the difference of a cluster of mean size.
        threshold: the test asks whether the gain is above this.
        """
        self.deviation, self.alpha, self.threshold = deviation, alpha, threshold
        self._known: dict[tuple[float, int], float] = {}  # power by effect and clusters

    @abstractmethod
    def _simulated(self, effect: float, clusters: int) -> float:
        """Share of simulated tests that detect a gain of ``effect`` on so many clusters."""

    def power(self, effect: float, clusters: int) -> float:
        """Probability that the test detects a mean difference of ``effect`` on so many clusters."""
        if clusters > self.most:
            return power_of_mean(effect - self.threshold, self.deviation, clusters, self.alpha)
        if (effect, clusters) not in self._known:
            self._known[effect, clusters] = self._simulated(effect, clusters) if clusters else 0.0
        return self._known[effect, clusters]

    def detectable(self, clusters: int, power: float = 0.8) -> float:
        """Smallest mean difference that is detected with ``power``, within 3%; infinite if none is."""
        guess = detectable_mean(self.deviation, clusters, self.alpha, power)
        if clusters > self.most or math.isinf(guess):
            return self.threshold + guess
        gains = guess / 32
        steps = first(lambda step: self.power(self.threshold + gains * step, clusters) >= power, 256, near=32)
        return math.inf if steps is None else self.threshold + gains * steps

    def needed(self, effect: float, power: float = 0.8) -> int | None:
        """Clusters for which ``effect`` is detected with ``power``; None if no number is enough."""
        if effect <= self.threshold:
            return None
        guess = items_for_mean(self.deviation, effect - self.threshold, self.alpha, power)
        most = 2 * guess + 64
        if most > self.most:
            return guess
        return first(lambda clusters: self.power(effect, clusters) >= power, most, near=guess) or most


class MeanPower(SimulatedPower):
    """Of a test of the mean, on differences like those observed, which are moved to have the mean in question."""

    def __init__(self, differences: Floats, clusters: Clusters, alpha: float, threshold: float = 0.0) -> None:
        """Args:
        differences: challenger minus incumbent, [n].
        threshold: the test asks whether the mean is above this.
        """
        self.sums, self.sizes = cluster_sums(differences - differences.mean(), clusters)
        super().__init__(float((self.sums / self.sizes.mean()).std()), alpha, threshold)

    def _drawn(self, effect: float, clusters: int, draws: np.random.Generator) -> tuple[Floats, Floats]:
        """Sums beyond the threshold, and sizes, of the clusters of each run, both [C, RUNS]."""
        drawn = draws.integers(0, len(self.sums), (clusters, RUNS))
        return self.sums[drawn] + (effect - self.threshold) * self.sizes[drawn], self.sizes[drawn]


class SignFlipPower(MeanPower):
    """Power of the sign-flip test."""

    def _simulated(self, effect: float, clusters: int) -> float:
        draws = np.random.Generator(np.random.Philox(key=clusters))
        sums = self._drawn(effect, clusters, draws)[0].astype(np.float32)
        resamples, tolerance = resamples_for(self.alpha), 1e-5 * np.abs(sums).sum(axis=0)  # a tie counts against the challenger
        reached, most = np.zeros(RUNS, dtype=int), self.alpha * (resamples + 1) - 1
        at_once = SIGNS_AT_ONCE // max(clusters, RUNS)
        for start in range(0, resamples, at_once):
            signs = 2 * draws.integers(0, 2, (min(at_once, resamples - start), clusters), dtype=np.int8) - 1
            reached += (signs.astype(np.float32) @ sums >= sums.sum(axis=0) - tolerance).sum(axis=0)
            if (reached > most).all():
                return 0.0
        return float((reached <= most).mean())


class ClusteredTPower(MeanPower):
    """Power of the clustered t test."""

    def _simulated(self, effect: float, clusters: int) -> float:
        drawn = self._drawn(effect, clusters, np.random.Generator(np.random.Philox(key=clusters)))
        return float((clustered_t_of(*drawn) <= self.alpha).mean())


class GaffkePower(MeanPower):
    """Power of Gaffke's test of a mean of differences between -1 and 1."""

    most = 4_000  # above, one more item of the least value hardly changes what the normal approximation says

    def _simulated(self, effect: float, clusters: int) -> float:
        sums, _ = self._drawn(effect, clusters, np.random.Generator(np.random.Philox(key=clusters)))
        least = -(1.0 + self.threshold) * float(self.sizes.max())
        return float((tail(np.maximum(sums, least), least, FEW_POINTS) <= self.alpha).mean())


def first(holds: Callable[[int], bool], last: int, near: int) -> int | None:
    """The smallest number from 1 to ``last`` for which a monotone condition holds; None if there is none.

    Args:
        near: where the search begins; the closer it is, the fewer numbers are tried.
    """
    low, high, number, step = 0, last + 1, min(near, last), 2  # it does not hold at low, and holds at high
    while high - low > 1:
        low, high = (low, number) if holds(number) else (number, high)
        if low and high <= last:
            number = (low + high) // 2
        else:
            number, step = (max(1, high - step) if high <= last else min(low + step, last)), 2 * step
    return high if high <= last else None
