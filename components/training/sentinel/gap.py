"""The gap between proxy and gold on dev: the training reward rises, what it stands for falls.

Gao et al. 2022 (arXiv:2210.10760) give the shape of it: under optimisation the proxy goes on rising after the gold reward has
turned. Both are measured on the same dev samples, and each evaluation is compared with the one before it item by item.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SURE = 1.645  # one-sided 95% in standard errors
MOST = 1e6  # standard errors of a change that is the same in every item; JSON has no infinity

Values = Sequence[float | None]


@dataclass
class Gap:
    """A one-sided CUSUM (Page 1954) of proxy up and gold down. Its state is JSON."""

    cusum: float = 0.0
    proxy: list[float | None] = field(default_factory=list)  # of each item at the last evaluation
    gold: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # gold at the evaluation where it was best

    def observe(self, proxy: Values, gold: Sequence[float], slack: float) -> float:
        """Add an evaluation of the same items; returns the CUSUM where gold is surely below its best, else 0.

        C = max(0, C + min(z_proxy, -z_gold) - slack), each z the mean of the items' changes since the last evaluation in its
        standard errors. Taking the lesser asks for both at once: where gold only wanders, even under a proxy that rises all the
        time, it adds a standard normal number each time, less the slack; where both rise, or both fall, it only sinks.
        """
        if len(gold) == len(self.gold):
            both = min(paired_z(proxy, self.proxy), -paired_z(gold, self.gold))
            self.cusum = max(0.0, self.cusum + both - slack)
        self.proxy, self.gold = list(proxy), list(gold)
        if len(gold) != len(self.best) or sum(gold) > sum(self.best):
            self.best = self.gold
        return self.cusum if paired_z(gold, self.best) < -SURE else 0.0


def paired_z(now: Values, before: Values) -> float:
    """Mean of the paired differences in standard errors; 0 where nothing changed. Items that miss a value are left out."""
    changes = np.array([a - b for a, b in zip(now, before, strict=True) if a is not None and b is not None])
    if len(changes) < 2 or not changes.any():
        return 0.0
    mean, deviation = float(changes.mean()), float(changes.std(ddof=1))
    return mean / deviation * math.sqrt(len(changes)) if deviation > 0 else math.copysign(MOST, mean)
