"""Power of approximate randomization, the test of a measure of the whole corpus, by simulation of that test.

The test is :func:`ratchet.components.statistics.paired.approximate_randomization`; the simulated tests share their swaps.
"""

import math
from collections.abc import Callable

import numpy as np

from ratchet.components.statistics.intervals import Floats
from ratchet.components.statistics.power import SimulatedPower

RUNS = 200  # simulated tests: a power of 0.8 is known within 0.03 (one standard error)
REACHED = 5  # a test rejects if fewer of 5 / alpha resamples reach the gain: more of them would hardly add power
BISECTIONS = 30
IN_MEMORY = 2**21  # figures of tallies, or of resampled totals, in memory at a time


class RandomizationPower(SimulatedPower):
    """Power on clusters like those observed, whose arms are given the gain in question.

    Without a gain, a fair coin decides which arm has the better of a cluster's two outputs. The coin is biased in the
    challenger's favour until the arms differ by the gain. Where even a sure coin is not enough, a share of the challenger's
    clusters becomes right in addition. A gain beyond the largest that there can be counts as the largest.
    """

    def __init__(self, challenger: Floats, incumbent: Floats, measure: Callable[[Floats], Floats], alpha: float) -> None:
        """Args:
        challenger: tallies of each cluster, [C, 3, k] (:mod:`ratchet.components.statistics.classification`).
        incumbent: [C, 3, k].
        measure: totals [..., 3, k] to the measure [...].
        """
        self.measure, self.middle = measure, (challenger.sum(axis=0) + incumbent.sum(axis=0)) / 2
        half = (challenger - incumbent) / 2
        effects = len(half) * (measure(self.middle + half) - measure(self.middle - half))  # of a mean, the differences
        deviation = float(effects.std())
        super().__init__(deviation if deviation > 0 else 1.0, alpha)
        ahead = (effects > 0)[:, None, None]
        self.better, self.worse = np.where(ahead, challenger, incumbent), np.where(ahead, incumbent, challenger)
        self.right = np.repeat(challenger[:, 1:2], 3, axis=1)  # predictions that equal the references

    @property
    def largest(self) -> float:
        """The largest gain that there can be."""
        return self._gain(2.0)

    def power(self, effect: float, clusters: int) -> float:
        return super().power(min(effect, self.largest), clusters)

    def detectable(self, clusters: int, power: float = 0.8) -> float:
        found = super().detectable(clusters, power)
        return found if found <= self.largest else math.inf

    def needed(self, effect: float, power: float = 0.8) -> int | None:
        return super().needed(effect, power) if effect <= self.largest else None

    def _gain(self, favour: float) -> float:
        """The true gain: ``favour`` is the coin's bias up to 1, and beyond 1 the share that becomes right in addition."""
        bias, righted = min(favour, 1.0), max(favour - 1.0, 0.0)
        lead = bias / 2 * (self.better - self.worse).sum(axis=0)
        ours = (1 - righted) * (self.middle + lead) + righted * self.right.sum(axis=0)
        return float(self.measure(ours) - self.measure(self.middle - lead))

    def _favour(self, effect: float) -> float:
        low, high = 0.0, 2.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._gain(middle) < effect else (low, middle)
        return high

    def _simulated(self, effect: float, clusters: int) -> float:
        favour, at_once = self._favour(effect), max(1, IN_MEMORY // (clusters * self.middle.size))
        sizes = [min(at_once, RUNS - start) for start in range(0, RUNS, at_once)]
        return sum(self._rejected(favour, (clusters, runs), batch) for batch, runs in enumerate(sizes)) / RUNS

    def _rejected(self, favour: float, shape: tuple[int, int], batch: int) -> int:
        """How many of R simulated tests on C clusters reject; ``shape`` is (C, R)."""
        draws = np.random.Generator(np.random.Philox(key=[shape[0], batch]))
        ours, theirs = self._drawn(favour, shape, draws)
        changes, ours, theirs = (theirs - ours).astype(np.float32), ours.sum(axis=0), theirs.sum(axis=0)
        observed = self.measure(ours) - self.measure(theirs) - 1e-9
        reached, resamples = np.zeros(shape[1], dtype=int), math.ceil(REACHED / self.alpha) - 1
        at_once = max(1, IN_MEMORY // ours.size)
        for start in range(0, resamples, at_once):
            left = reached < REACHED  # the others cannot reject any more
            if not left.any():
                break
            swapped = (draws.random((min(at_once, resamples - start), shape[0])) < 0.5).astype(np.float32)
            moved = np.tensordot(swapped, changes[:, left], axes=1).astype(np.float64)
            gains = self.measure(ours[left] + moved) - self.measure(theirs[left] - moved)
            reached[left] += (~(gains < observed[left])).sum(axis=0)  # what is not a number counts against the challenger
        return int((reached < REACHED).sum())

    def _drawn(self, favour: float, shape: tuple[int, int], draws: np.random.Generator) -> tuple[Floats, Floats]:
        """Tallies of both arms in each test, [C, R, 3, k]."""
        drawn, (coins, righted) = draws.integers(0, len(self.better), shape), draws.random((2, *shape, 1, 1))
        ahead, better, worse = coins < (1 + min(favour, 1.0)) / 2, self.better[drawn], self.worse[drawn]
        ours, theirs = np.where(ahead, better, worse), np.where(ahead, worse, better)
        return np.where(righted < favour - 1, self.right[drawn], ours), theirs
