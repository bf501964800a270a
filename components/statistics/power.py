"""The smallest gain that a test detects, and the items it needs. Normal approximations (Miller 2024, arXiv:2411.00640).

The deviation omega is that of the paired differences of single items (of clusters, if items are clustered). For right
or wrong with one sample per item, omega^2 = p_disc - delta^2, p_disc the share of discordant items.
"""

import math

from scipy import stats


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
