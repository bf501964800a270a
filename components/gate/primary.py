"""The primary test: chosen from the rules before any data are seen, its power known before the sealed fold is read."""

import math
from dataclasses import dataclass

import numpy as np

from ratchet.components.evaluation.comparison import Comparison
from ratchet.components.recipe import Rules, kind_of
from ratchet.components.statistics.intervals import Floats, mean_interval
from ratchet.components.statistics.paired import clustered_t, exact_mcnemar, resamples_for, sign_flip
from ratchet.components.statistics.power import (
    SignFlipPower,
    detectable_mean,
    items_for_mean,
    items_needed,
    minimum_detectable_effect,
    power_of_mean,
    power_to_detect,
)

ENOUGH_CLUSTERS = 50
ENOUGH_REACHED = 400  # permutations that reach the observed gain: p is known within 5%, and large
NAMES = {
    "mcnemar": "exact McNemar, one sample per item",
    "sign_flip": "cluster sign-flip permutation",
    "clustered_t": "clustered t",
}


def choose_test(rules: Rules, samples: int, items: int, clustered: bool = False) -> str:
    """``mcnemar``, ``sign_flip`` or ``clustered_t``; depends on the rules and on counts only.

    Args:
        clustered: whether the data tie items together (``data.group``).
    """
    primary, kind = rules.primary, kind_of(rules.primary.measure)
    if primary.test != "auto":
        return primary.test
    if kind.binary and (samples == 1 or kind.per_item) and primary.min_effect == 0 and not clustered:
        return "mcnemar"
    return "clustered_t" if primary.min_effect > 0 and items >= ENOUGH_CLUSTERS else "sign_flip"


def primary_test(comparison: Comparison, rules: Rules, test: str, alpha: float, draws: np.random.Generator) -> dict[str, float]:
    """``p_value`` of "the gain is above ``min_effect``", with the figures behind it. p is 1 if a figure is missing.

    Args:
        draws: fixes the permutation.
    """
    measure = rules.primary.measure
    ours, theirs = comparison.pair(measure)
    differences, clusters = comparison.differences(measure)
    gain = mean_interval(differences, clusters)
    figures = {
        f"challenger_{measure}": _mean(ours),
        f"incumbent_{measure}": _mean(theirs),
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "items": float(len(ours)),
    }
    if not np.isfinite(differences).all():
        return {**figures, "p_value": 1.0}
    if test == "mcnemar":
        result = exact_mcnemar(ours[:, 0] > 0.5, theirs[:, 0] > 0.5)
        return {**figures, "wins": float(result.wins), "losses": float(result.losses), "p_value": result.p_value}
    beyond = differences - rules.primary.min_effect
    if test == "clustered_t":
        return {**figures, "p_value": clustered_t(beyond, clusters)}
    return {**figures, "p_value": sign_flip(beyond, clusters, draws, resamples_for(alpha), ENOUGH_REACHED)}


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan


@dataclass(frozen=True)
class Power:
    """What a test on ``items`` items can detect, according to dev data or an assumption."""

    effect: float  # the true gain in question
    alpha: float
    items: int
    source: str  # source of the spread
    spread: float  # share of discordant items (binary), else standard deviation of an item's difference
    binary: bool
    power: float
    detectable: float  # smallest gain detected with power 0.8
    needed: int | None  # items for power 0.8 at the effect; None if no number is enough


def power_from(comparison: Comparison | None, rules: Rules, items: int, alpha: float, effect: float | None = None) -> Power:
    """Power at a true gain of ``effect`` (default: the rules' target), with the spread of dev results."""
    effect = rules.target_effect if effect is None else effect
    if comparison is None or _is_binary(comparison, rules):
        spread = math.nan if comparison is None else _discordance(comparison, rules.primary.measure)
        return power_at(spread, True, rules, items, alpha, effect, "dev results")
    differences, clusters = comparison.differences(rules.primary.measure)
    if len(differences) < 2 or not np.isfinite(differences).all() or np.ptp(differences) == 0:
        return power_at(math.nan, False, rules, items, alpha, effect, "dev results")
    of_dev = SignFlipPower(differences, clusters, alpha, rules.primary.min_effect)
    per_item = len(of_dev.sums) / len(comparison.pair(rules.primary.measure)[0])
    return _simulated(of_dev, items, per_item, effect)


def _discordance(comparison: Comparison, measure: str) -> float:
    ours, theirs = comparison.pair(measure)
    return float((ours != theirs).mean()) if len(ours) else math.nan


def _simulated(of_dev: SignFlipPower, items: int, clusters_per_item: float, effect: float) -> Power:
    clusters, needed = round(items * clusters_per_item), of_dev.needed(effect)
    return Power(
        effect, of_dev.alpha, items, "dev results", of_dev.deviation, False,
        power=of_dev.power(effect, clusters),
        detectable=of_dev.detectable(clusters),
        needed=None if needed is None else math.ceil(needed / clusters_per_item),
    )  # fmt: skip


def power_at(spread: float, binary: bool, rules: Rules, items: int, alpha: float, effect: float, source: str) -> Power:
    """Power with a given spread; NaN stands for the largest spread that the measure allows."""
    if binary:
        # The gain itself makes items discordant: there cannot be fewer than this.
        discordance = max(1.0 if math.isnan(spread) else spread, effect)
        power = power_to_detect(effect, discordance, items, alpha) if discordance > effect**2 else 1.0
        visible = minimum_detectable_effect(discordance, items, alpha)
        return Power(effect, alpha, items, source, discordance, True, power, visible, items_needed(discordance, effect, alpha))
    share, threshold = kind_of(rules.primary.measure).share, rules.primary.min_effect
    worst = 1.0 if share else math.inf
    deviation = worst if math.isnan(spread) or spread == 0 else spread
    if math.isinf(deviation) or effect <= threshold:
        return Power(effect, alpha, items, source, deviation, False, 0.0, math.inf, None)
    return Power(
        effect, alpha, items, source, deviation, False,
        power=power_of_mean(effect - threshold, deviation, items, alpha),
        detectable=threshold + detectable_mean(deviation, items, alpha),
        needed=items_for_mean(deviation, effect - threshold, alpha),
    )  # fmt: skip


def _is_binary(comparison: Comparison, rules: Rules) -> bool:
    values = comparison.challenger.values[rules.primary.measure]
    if comparison.clusters is not None:
        return False
    return kind_of(rules.primary.measure).binary and values.shape[1] == 1 and rules.primary.min_effect == 0


def shortfall(power: Power) -> str | None:
    """Why the gate could not detect the effect, or None if it could."""
    if power.detectable <= power.effect:
        return None
    needed = "no number of items is enough" if power.needed is None else f"{power.needed} items are needed"
    return (
        f"{power.items} sealed items can detect a gain of {power.detectable:.3f} with power 0.8, not the wanted "
        f"{power.effect:.3f}: {needed}. Add data, or raise gate.rules.target_effect."
    )
