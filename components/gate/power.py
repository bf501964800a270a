"""What the primary tests can detect: known before the sealed fold is read, from dev rows or from an assumption."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ratchet.components.evaluation.comparison import Comparison
from ratchet.components.gate.primary import choose_test
from ratchet.components.recipe import Primary, Rules, kind_of
from ratchet.components.statistics.corpus import CORPUS_MEASURES
from ratchet.components.statistics.intervals import total_by_cluster
from ratchet.components.statistics.power import (
    ClusteredTPower,
    GaffkePower,
    MeanPower,
    SignFlipPower,
    SimulatedPower,
    detectable_mean,
    items_for_mean,
    items_needed,
    minimum_detectable_effect,
    power_of_mean,
    power_to_detect,
)
from ratchet.components.statistics.randomization_power import RandomizationPower

WANTED = 0.8  # the probability of detecting the effect, of all primary tests together
DEV = "dev results"
SIMULATIONS: Mapping[str, type[MeanPower]] = {
    "gaffke": GaffkePower,
    "sign_flip": SignFlipPower,
    "clustered_t": ClusteredTPower,
}  # by the test


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
    detectable: float  # smallest gain detected with the wanted power
    needed: int | None  # items for the wanted power at the effect; None if no number is enough
    groups: int | None = None  # of these items, where a group counts as one observation; None: every item is its own


@dataclass(frozen=True)
class Question:
    """What is asked of a test."""

    primary: Primary
    items: int
    alpha: float
    effect: float  # the true gain
    wanted: float = WANTED
    groups: int | None = None  # of these items; None: every item is its own


def questions(rules: Rules, items: int, alpha: float, effect: float, groups: int | None = None) -> list[Question]:
    """One per primary measure, at the same true gain in each.

    Several tests must all detect it: each is then asked for so much power that together they miss it with at most 1 - 0.8
    (Bonferroni).
    """
    wanted = 1 - (1 - WANTED) / len(rules.primaries)
    return [Question(one, items, alpha, effect, wanted, groups) for one in rules.primaries]


def power_from(comparison: Comparison, rules: Rules, items: int, alpha: float, groups: int | None = None) -> Power:
    """Power at the rules' target, with the spread of dev results.

    Args:
        items: of the fold.
        groups: of these items; None takes as many per item as dev has.
    """
    return powers_from(comparison, rules, items, alpha, [rules.target_effect], groups)[0]


def powers_from(
    comparison: Comparison, rules: Rules, items: int, alpha: float, effects: Sequence[float], groups: int | None = None
) -> list[Power]:
    """The same at several gains; what is simulated for one serves the others."""
    simulations = [_simulation(comparison, one, alpha) for one in rules.primaries]
    found = []
    for effect in effects:
        asked = questions(rules, items, alpha, effect, groups)
        found.append(together([_ask(s, comparison, one) for s, one in zip(simulations, asked, strict=True)], asked))
    return found


def together(powers: Sequence[Power], asked: Sequence[Question]) -> Power:
    """The power of all tests: at least 1 less the sum of their chances of missing the effect; the rest is of the weakest."""
    if len(powers) == 1:
        return powers[0]
    weakest = max(range(len(powers)), key=lambda n: (powers[n].detectable, -powers[n].power))
    needed, hardest = [one.needed for one in powers], asked[weakest].primary.measure
    return replace(
        powers[weakest],
        source=f"{powers[weakest].source}; at least this power for all_of, of which {hardest} is the hardest",
        power=max(0.0, 1 - sum(1 - one.power for one in powers)),
        needed=None if None in needed else max(n for n in needed if n is not None),
    )


def _simulation(comparison: Comparison, primary: Primary, alpha: float) -> SimulatedPower | None:
    """The simulation of a resampling test; None for McNemar's, and where the results show no spread."""
    if _test(comparison, primary) == "mcnemar":
        return None
    if kind_of(primary.measure).corpus:
        ours, theirs = (total_by_cluster(arm, comparison.clusters) for arm in comparison.tallied())
        return RandomizationPower(ours, theirs, CORPUS_MEASURES[primary.measure], alpha) if len(ours) > 1 else None
    differences, clusters = comparison.differences(primary.measure)
    if len(differences) < 2 or not np.isfinite(differences).all() or np.ptp(differences) == 0:
        return None
    return SIMULATIONS[_test(comparison, primary)](differences, clusters, alpha, primary.min_effect)


def _ask(simulation: SimulatedPower | None, comparison: Comparison, asked: Question) -> Power:
    if simulation is None:
        binary = _test(comparison, asked.primary) == "mcnemar"
        return power_at(_discordance(comparison, asked.primary.measure) if binary else math.nan, binary, asked, DEV)
    clusters, needed = _clusters(comparison, asked), simulation.needed(asked.effect, asked.wanted)
    return Power(
        asked.effect, asked.alpha, asked.items, DEV, simulation.deviation, False,
        power=simulation.power(asked.effect, clusters),
        detectable=simulation.detectable(clusters, asked.wanted),
        needed=None if needed is None else math.ceil(needed * asked.items / max(clusters, 1)),
        groups=clusters if comparison.groups is not None else asked.groups,
    )  # fmt: skip


def _clusters(comparison: Comparison, asked: Question) -> int:
    """How many clusters the items are of: their groups, where these are known, else as many per item as dev has."""
    if asked.groups is not None:
        return asked.groups
    return asked.items if comparison.groups is None else round(asked.items * comparison.groups / comparison.items)


def _test(comparison: Comparison, primary: Primary) -> str:
    samples = comparison.challenger.values[primary.measure].shape[1]
    return choose_test(primary, samples, clustered=comparison.clusters is not None)


def _discordance(comparison: Comparison, measure: str) -> float:
    ours, theirs = comparison.pair(measure)
    return float((ours != theirs).mean()) if len(ours) else math.nan


def power_at(spread: float, binary: bool, asked: Question, source: str) -> Power:
    """Power with a given spread; NaN stands for the largest spread that the measure allows."""
    items, alpha, effect, wanted = asked.items, asked.alpha, asked.effect, asked.wanted
    if binary:
        # The gain itself makes items discordant: there cannot be fewer than this.
        discordance = max(1.0 if math.isnan(spread) else spread, effect)
        power = power_to_detect(effect, discordance, items, alpha) if discordance > effect**2 else 1.0
        visible = minimum_detectable_effect(discordance, items, alpha, wanted)
        needed = items_needed(discordance, effect, alpha, wanted)
        return Power(effect, alpha, items, source, discordance, True, power, visible, needed)
    share, threshold = kind_of(asked.primary.measure).share, asked.primary.min_effect
    worst = 1.0 if share else math.inf
    deviation = worst if math.isnan(spread) or spread == 0 else spread
    if math.isinf(deviation) or effect <= threshold:
        return Power(effect, alpha, items, source, deviation, False, 0.0, math.inf, None, asked.groups)
    observations = items if asked.groups is None else asked.groups
    detectable = threshold + detectable_mean(deviation, observations, alpha, wanted)
    return Power(
        effect, alpha, items, source, deviation, False,
        power=power_of_mean(effect - threshold, deviation, observations, alpha),
        detectable=math.inf if share and detectable > 1 else detectable,
        needed=math.ceil(items_for_mean(deviation, effect - threshold, alpha, wanted) * items / observations),
        groups=asked.groups,
    )  # fmt: skip


def shortfall(power: Power) -> str | None:
    """Why the gate could not detect the effect, or None if it could."""
    if power.detectable <= power.effect:
        return None
    detectable = "no gain" if math.isinf(power.detectable) else f"a gain of {power.detectable:.3f}"
    remedy = "Add data" if math.isinf(power.detectable) else "Add data, or raise gate.rules.target_effect"
    return (
        f"{_counted(power.items, power.groups, 'sealed item')} can detect {detectable} with power 0.8, not the wanted "
        f"{power.effect:.3f}: {_needed(power)}. {remedy}."
    )


def _needed(power: Power) -> str:
    if power.needed is None:
        return "no number of items is enough"
    groups = None if power.groups is None else math.ceil(power.needed * power.groups / power.items)
    return f"{_counted(power.needed, groups, 'item')} are needed"


def _counted(items: int, groups: int | None, what: str) -> str:
    return f"{items} {what}s" if groups is None else f"{items} {what}s in {groups} groups, each of which counts as one,"
