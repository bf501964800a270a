"""How many samples per prompt? Formulas of group-relative learning from noisy rewards, as pure functions.

Model: the reward is r = s + e. Within a prompt s has variance v_s and the noise e variance v_e; rho = v_s / (v_s + v_e).
Samples of a prompt are independent, e is independent of s and of the other samples. An advantage compares a sample with the
mean of its group. The optimiser is not modelled: a recommendation is a starting point.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

Floats = NDArray[np.float64]
SIGNAL = 4.0  # S0: the wanted signal-to-noise ratio of one prompt's group; 3 to 7 at rho = 1 gives the rule of thumb k = 4 to 8
MAX_ZERO_VARIANCE = 0.3
SMALLEST = 4
SIZES = (2, 4, 8, 16, 32)


def advantage_fidelity(rho: float, k: int) -> float:
    """R^2 of one advantage with the true one, rho (1 - 1/k): more samples cannot raise it above rho."""
    return rho * (1 - 1 / k)


def size_for_signal(rho: float, wanted: float = SIGNAL) -> float:
    """k at which a prompt's signal-to-noise k R^2 = rho (k - 1) is ``wanted``: k = 1 + wanted / rho."""
    return 1 + wanted / rho if rho > 0 else math.inf


def expected_zero_variance_share(a: float, b: float, k: int) -> float:
    """Chance that k right-or-wrong samples are all equal, p^k + (1 - p)^k, over prompts whose pass rate p is Beta(a, b).

    It is [B(a+k, b) + B(a, b+k)] / B(a, b).
    """
    base = betaln(a, b)
    return float(np.exp(betaln(a + k, b) - base) + np.exp(betaln(a, b + k) - base))


def fit_beta(passes: Sequence[int], k: int) -> tuple[float, float]:
    """a and b of Beta-distributed pass rates, by the moments of counts of k samples; uniform, (1, 1), without counts.

    The mean is m = sum / (P k). With the intra-class correlation c = (V / (m (1 - m)) - 1/k) k / (k - 1), V the variance of
    the observed rates, a + b = 1/c - 1. c is kept within 0.01 to 0.99, and m within half a sample of its ends.
    """
    if not len(passes) or k < 2:
        return 1.0, 1.0
    rates = np.array(passes) / k
    edge = 0.5 / (len(passes) * k)
    mean = min(1 - edge, max(edge, float(rates.mean())))
    correlation = (float(rates.var()) / (mean * (1 - mean)) - 1 / k) * k / (k - 1)
    concentration = 1 / min(0.99, max(0.01, correlation)) - 1
    return mean * concentration, (1 - mean) * concentration


def spread_error(k: int) -> float:
    """Coefficient of variation of a group's standard deviation, about 1 / sqrt(2 (k - 1)), for normal rewards."""
    return 1 / math.sqrt(2 * (k - 1))


def fixed_budget_size(within: float, between: float) -> float:
    """k that minimises the gradient's variance at a fixed number of samples, 1 + sigma / tau.

    Args:
        within: sigma^2, variance within prompts, noise included.
        between: tau^2, variance between prompts; k is infinite if it is 0.
    """
    return 1 + math.sqrt(within / between) if between > 0 else math.inf


def size_against_zero_variance(a: float, b: float, most: float = MAX_ZERO_VARIANCE, largest: int = 1024) -> float:
    """Smallest k whose expected share of zero-variance groups is at most ``most``; infinite if none up to ``largest`` is."""
    return next((k for k in range(2, largest + 1) if expected_zero_variance_share(a, b, k) <= most), math.inf)


def power_of_two_at_least(size: float) -> float:
    """The smallest power of two that is at least the argument."""
    return 2.0 ** math.ceil(math.log2(size)) if math.isfinite(size) else math.inf


def recommended_size(rho: float, silence: float, wanted: float = SIGNAL) -> float:
    """Smallest power of two that is at least :func:`size_for_signal`, ``silence`` and SMALLEST; infinite if there is none.

    Args:
        silence: k from :func:`size_against_zero_variance`, or 0 if rewards are not right-or-wrong.
    """
    return power_of_two_at_least(max(size_for_signal(rho, wanted), silence, SMALLEST))
