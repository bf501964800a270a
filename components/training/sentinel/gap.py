"""The gap between proxy and gold on dev: the training reward rises, what it stands for falls.

Gao et al. 2022 (arXiv:2210.10760) give the shape of it: under optimisation the proxy keeps rising after the gold reward has
turned. Both are measured on the same dev samples, and each evaluation is compared with the one before it item by item.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SELECTED = 1.0
SURE = 1.645  # one-sided 95% in standard errors
MOST = 1e6  # standard errors of a change that is the same in every item; JSON has no infinity

Values = Sequence[float | None]


@dataclass
class Gap:
    """A one-sided CUSUM (Page 1954) of gold's falls that the proxy does not share. Its state is JSON."""

    cusum: float = 0.0
    proxy: list[float | None] = field(default_factory=list)  # of each item at the last evaluation
    gold: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # gold at the evaluation where it was best, and the proxy there
    best_proxy: list[float | None] = field(default_factory=list)

    def observe(self, proxy: Values, gold: Sequence[float], slack: float) -> float:
        """Add an evaluation of the same items; how far both parted, in standard errors; 0 near gold's best.

        C = max(0, C + fall - slack), with fall = -z_gold + min(0, z_proxy), each z the mean of the items' changes since the
        last evaluation in its standard errors. A proxy that rises adds nothing: its noise may be small, and it would outweigh
        any gold. Where gold only wanders, a standard normal number is added, less the slack; where both fall, nothing.
        A slow fall shows against the best evaluation itself, at the price of ``SELECTED``: that was the best of several.
        """
        if len(gold) == len(self.gold):
            fall = unshared_fall(proxy, gold, self.proxy, self.gold)
            self.cusum = max(0.0, self.cusum + fall - slack)
        self.proxy, self.gold = list(proxy), list(gold)
        if len(gold) != len(self.best) or sum(gold) > sum(self.best):
            self.best, self.best_proxy = self.gold, self.proxy
        below = unshared_fall(proxy, gold, self.best_proxy, self.best)
        return max(self.cusum, below - SELECTED) if below > SURE else 0.0


def unshared_fall(proxy: Values, gold: Values, old_proxy: Values, old_gold: Values) -> float:
    """Gold's fall less the proxy's, in standard errors."""
    return -paired_z(gold, old_gold) + min(0.0, paired_z(proxy, old_proxy))


def paired_z(now: Values, before: Values) -> float:
    """Mean of the paired differences in standard errors; 0 where nothing changed. Items that miss a value are left out."""
    changes = np.array([a - b for a, b in zip(now, before, strict=True) if a is not None and b is not None])
    if len(changes) < 2 or not changes.any():
        return 0.0
    mean, deviation = float(changes.mean()), float(changes.std(ddof=1))
    return mean / deviation * math.sqrt(len(changes)) if deviation > 0 else math.copysign(MOST, mean)
