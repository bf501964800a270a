"""Spikes of the gradient's norm, before it is clipped."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WINDOW = 128  # steps whose norms are remembered
ENOUGH = 20  # steps before a norm is judged
TINY = 1e-12
RECENT, TOO_MANY = 50, 5  # spikes among the last steps that end training


@dataclass
class Spikes:
    """State as JSON. PaLM (arXiv:2204.02311, section 5.1) met loss spikes that clipping did not prevent."""

    norms: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)  # steps of recent spikes

    def observe(self, step: int, norm: float, deviations: float) -> bool:
        """Note a norm; whether spikes have become too many. A spike stays out of the norms that later ones are held against."""
        self.at = [s for s in self.at if s > step - RECENT]
        if len(self.norms) >= ENOUGH and norm > spike_limit(self.norms, deviations):
            self.at.append(step)
        else:
            self.norms = [*self.norms, norm][-WINDOW:]
        return len(self.at) >= TOO_MANY


def spike_limit(norms: Sequence[float], deviations: float) -> float:
    """Median plus that many median absolute deviations of the logarithms, for norms are skewed; at least twice the median."""
    logarithms = np.log(np.maximum(norms, TINY))
    median = np.median(logarithms)
    spread = np.median(np.abs(logarithms - median))
    return float(np.exp(median + max(np.log(2), deviations * spread)))
