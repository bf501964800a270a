"""Calibration of score differences: fit a temperature, and measure the remaining error. Pure functions on arrays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

Floats = NDArray[np.float64]
LOG_RANGE = (-5.0, 5.0)  # of the temperature


class Bin(NamedTuple):
    """One bin of a reliability plot: pairs of similar confidence."""

    confidence: float  # mean stated probability that the preferred answer is the chosen one
    accuracy: float  # share in which it is
    size: int


def negative_log_likelihood(differences: Floats, temperature: float = 1.0) -> float:
    """Mean of -log sigmoid(d / T) over pairs, nats. differences: r_chosen - r_rejected, [n]."""
    return float(np.logaddexp(0, -differences / temperature).mean())


def fit_temperature(differences: Floats) -> float:
    """The T that minimises :func:`negative_log_likelihood` (Guo et al. 2017, arXiv:1706.04599); 1 without pairs.

    Bounded by exp(-5) and exp(5): if no pair is ordered wrongly (or correctly), the minimum is at 0 (or infinity).
    differences: [n].
    """
    if len(differences) == 0:
        return 1.0
    found = minimize_scalar(
        lambda t: negative_log_likelihood(differences, float(np.exp(t))), bounds=LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def brier_score(differences: Floats) -> float:
    """Mean of (1 - sigmoid(d))^2 (Brier 1950): 0 is perfect, 0.25 is a coin flip. differences: [n]."""
    return float(((1 - expit(differences)) ** 2).mean())


def reliability(differences: Floats, bins: int = 10) -> list[Bin]:
    """Bins of equal mass by confidence max(sigmoid(d), 1 - sigmoid(d)), least confident first. differences: [n]."""
    confidence = expit(np.abs(differences))
    right = np.where(differences == 0, 0.5, differences > 0)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [Bin(float(confidence[p].mean()), float(right[p].mean()), len(p)) for p in parts]


def expected_calibration_error(differences: Floats, bins: int = 10) -> float:
    """Mean over pairs of |accuracy - confidence| of their bin (equal mass; Naeini et al. 2015). differences: [n]."""
    return sum(b.size * abs(b.accuracy - b.confidence) for b in reliability(differences, bins)) / len(differences)
