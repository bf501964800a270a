"""The gate: pure decisions on paired results. Refusal is a value, not an exception; every doubt results in INVALID."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ratchet.components.evaluation.comparison import Arms, Comparison
from ratchet.components.evaluation.measures import column, flat
from ratchet.components.gate.primary import NAMES, Tests, primary_test
from ratchet.components.recipe import Guard, Kind, Rules, kind_of
from ratchet.components.records import Arm, ItemResult
from ratchet.components.statistics.bounded import bounded_above
from ratchet.components.statistics.intervals import Clusters, Floats, Integers, cluster_sums, lower_bound_share
from ratchet.components.statistics.unlimited import fewest_clusters, unlimited_above

SEALED = "sealed"


def check_integrity(arms: Arms, rules: Rules, expected: Mapping[str, str], measures: Iterable[str] = ()) -> list[str]:
    """Reasons why the results cannot be judged; they depend on counts and digests, never on how well a model did.

    Args:
        expected: digest of each arm's weights (``challenger``, ``incumbent``) as the registry knows them.
        measures: what the rules need from these results.
    """
    reasons = []
    if not arms.items:
        reasons.append("there are no items")
    if len(set(arms.items)) < len(arms.items):
        reasons.append("an item of the fold is listed twice")
    digests = {Arm.CHALLENGER: arms.challenger_digest, Arm.INCUMBENT: arms.incumbent_digest}
    for name, digest in digests.items():
        if digest != expected[name]:
            reasons.append(f"the {name} that was scored ({digest[:12]}) is not the expected one ({expected[name][:12]})")
        reasons += _faults_of(arms, name, rules, measures)
    if arms.challenger_digest == arms.incumbent_digest:
        reasons.append("challenger and incumbent are the same model")
    return reasons


def _faults_of(arms: Arms, name: Arm, rules: Rules, measures: Iterable[str]) -> list[str]:
    reasons, results = [], arms.results(name, "gold")
    read = [one for one in measures if name is Arm.CHALLENGER or not _of_challenger_alone(rules, one)]
    for measure in dict.fromkeys(["gold", *read]):
        missing = set(arms.missing(name, measure))
        if len(missing) > rules.max_missing * len(arms.items):
            reasons.append(f"{len(missing)} of {len(arms.items)} items have no result from the {name}{_kinds(arms, name)}")
            continue
        whole = [arms.results(name, measure)[item] for item in arms.items if item not in missing]
        values = column(measure, whole)
        absent = int(np.isnan(values).any(axis=1).sum())
        if absent:
            reasons.append(f"{measure} could not be measured on {absent} of {len(arms.items)} items of the {name}")
        if kind_of(measure).share and ((values < 0) | (values > 1)).any():
            reasons.append(_without_limits(measure, name))
    if set(results) - set(arms.items):
        reasons.append(f"the {name} was scored on items that are not of this fold")
    if any(not _finite(result) for group in results.values() for result in group):
        reasons.append(f"a figure of the {name} is not finite")
    return list(dict.fromkeys(reasons))


def _without_limits(measure: str, name: Arm) -> str:
    grader = f"graders.{measure.removeprefix('grader/')}" if measure.startswith("grader/") else "the grader of gold.grader"
    return (
        f"{measure} of the {name} is not between 0 and 1, where its test and bounds hold; give {grader} a range from "
        "its lowest to its highest score"
    )


def _of_challenger_alone(rules: Rules, measure: str) -> bool:
    """Whether no rule reads the incumbent's figure, which may be unknown: its KL to itself, or to a start of other tokens."""
    guards = [guard for guard in rules.guards if guard.measure == measure]
    primary = measure in [one.measure for one in rules.primaries]
    return bool(guards) and all(guard.max is not None for guard in guards) and not primary


def _kinds(arms: Arms, name: Arm) -> str:
    """Why the gold could not judge, counted by kind."""
    every = [result for group in arms.results(name, "gold").values() for result in group if result.score is None]
    kinds = Counter(result.fault or "declined" for result in every)
    return f" (the gold: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})" if kinds else ""


def _finite(result: ItemResult) -> bool:
    figures = [result.score, result.length, result.kl, result.kl_incumbent, *result.parts.values()]
    figures += [*result.grades.values(), *result.rewards.values()]
    return all(figure is None or math.isfinite(figure) for figure in figures)


@dataclass(frozen=True)
class SealedDecision:
    """Whether every rule held, with the figures behind it."""

    promote: bool
    figures: Mapping[str, float]
    reasons: list[str]
    others_held: bool = True  # every rule but the primary's test


def decide(
    places: Mapping[str, Comparison],
    rules: Rules,
    *,
    tests: Tests,
    alpha: float,
    first_champion: bool,
    draws: np.random.Generator,
) -> SealedDecision:
    """Superiority on every primary measure, and every guard within its bound.

    An intersection-union test: what must hold together is tested each at the whole level, and a promotion is false with at most
    that probability, however the tests depend on one another (Berger 1982, Technometrics 24:295-300).

    Args:
        places: ``sealed``, and the guard split and benchmarks that guards refer to.
        tests: of the primary measures, from :func:`ratchet.components.gate.primary.choose_tests`.
        alpha: level of each of them, and of the floor.
        first_champion: whether the floor holds as well.
        draws: fixes a permutation test.
    """
    sealed = places[SEALED]
    if not sealed.items:
        return SealedDecision(False, {}, ["there are no sealed items"], False)
    superior, figures = _judge_primaries(sealed, rules, tests, alpha, draws)
    others = _judge_floor(sealed, rules, alpha) if first_champion else {}
    for judged in (judge_guard(guard, places, rules.guard_alpha) for guard in rules.guards):
        others[judged.text] = judged.held
        figures |= judged.figures
    results = superior | others
    reasons = [f"{text}: {'held' if held else 'failed'}" for text, held in results.items()]
    return SealedDecision(all(results.values()), figures, reasons, all(others.values()))


def _judge_primaries(
    sealed: Comparison, rules: Rules, tests: Tests, alpha: float, draws: np.random.Generator
) -> tuple[dict[str, bool], dict[str, float]]:
    """Whether each primary measure is superior, by its text, and the figures: of several ``p_value`` is the largest."""
    results, figures, p_values = dict[str, bool](), dict[str, float](), []
    for primary in rules.primaries:
        measure, test = primary.measure, tests[primary.measure]
        found = primary_test(sealed, primary, test, alpha, draws)
        p_values.append(found["p_value"])
        which, own = ("primary", found) if len(rules.primaries) == 1 else (f"primary {measure}", _own(found, measure))
        results[f"{which}: {NAMES[test]}, p = {found['p_value']:.3g} against alpha {alpha:.3g}"] = found["p_value"] <= alpha
        figures |= own
    return results, {**figures, "p_value": max(p_values)}


def _own(figures: Mapping[str, float], measure: str) -> dict[str, float]:
    """The figures of one of several primary measures, under names of their own: ``gain_accuracy``."""
    return {name if name == "items" or name.endswith(f"_{measure}") else f"{name}_{measure}": v for name, v in figures.items()}


def _judge_floor(sealed: Comparison, rules: Rules, alpha: float) -> dict[str, bool]:
    results = {}
    for measure in (primary.measure for primary in rules.primaries):
        bound = floor_bound(sealed.pair(measure)[0], measure, alpha, sealed.clusters)
        results[f"floor: {measure} above {rules.floor:g} (bound {bound:.3g})"] = bound > rules.floor
    return results


def floor_bound(values: Floats, measure: str, alpha: float, groups: Integers | None = None) -> float:
    """Lower bound of the challenger's mean: Clopper-Pearson for right-or-wrong measures, else as of guards.

    Args:
        groups: the cluster of each item, [n], if the data tie items together.
    """
    if kind_of(measure).binary and values.shape[1] == 1 and groups is None and np.isfinite(values).all():
        return lower_bound_share(int(values.sum()), len(values), alpha)
    one_a_row, clusters = flat(values, groups)
    kind = kind_of(measure)
    return -_above(-one_a_row, alpha, clusters, kind, -_least(kind))


def _least(kind: Kind) -> float:
    """The lowest value of a measure, which for one without limits is not known."""
    return (0.0 if kind.share else -1.0) if kind.share or kind.corpus else -math.inf


def _above(values: Floats, alpha: float, clusters: Clusters, kind: Kind, largest: float) -> float:
    """Upper bound of a mean: Gaffke's where each item's value has limits, else that of random subsets.

    A measure of all items together has limits, but its pseudo-values have not.
    """
    if kind.share and not kind.corpus:
        return bounded_above(values, alpha, clusters, largest)
    return unlimited_above(values, alpha, clusters, largest if kind.corpus else None)


@dataclass(frozen=True)
class JudgedGuard:
    """A guard's outcome: it holds only if a bound at its level says so."""

    held: bool
    text: str
    figures: Mapping[str, float]


def judge_guard(guard: Guard, places: Mapping[str, Comparison], alpha: float) -> JudgedGuard:
    """Whether a guard's one-sided bound is within its margin; a slice or place without items never is."""
    where = f"{guard.measure} on {guard.on}" + (f", slice {guard.slice}" if guard.slice else "")
    place = places[guard.on]
    if guard.slice is not None and guard.slice not in place.slices:
        return JudgedGuard(False, f"guard: {where}: no item belongs to the slice", {})
    ours, theirs = place.pair(guard.measure, guard.slice)
    bound, limit, said = _bound(guard, ours, theirs, place, alpha)
    known = f"bound {bound:.3g}" if math.isfinite(bound) else _unbounded(place.flat(ours, guard.slice), alpha)
    figures = zip(Arm, place.figures(guard.measure, guard.slice), strict=True)
    finite = {f"{arm}_{where}": value for arm, value in figures if math.isfinite(value)}
    return JudgedGuard(bound <= limit, f"guard: {where}: {said} ({known})", finite)


def _unbounded(flat: tuple[Floats, Clusters], alpha: float) -> str:
    """Why a mean has no bound, with the remedy."""
    seen, needed = len(cluster_sums(*flat)[0]), fewest_clusters(alpha)
    what = "items" if flat[1] is None else "groups of items"
    if seen >= needed:
        return "no bound: a figure is not finite"
    return f"no bound: level {alpha:g} needs {needed} {what}, and there are {seen}; add data, or raise gate.rules.guard_alpha"


def _bound(guard: Guard, ours: Floats, theirs: Floats, place: Comparison, alpha: float) -> tuple[float, float, str]:
    """(upper bound of what must be small, its limit, description)."""
    kind = kind_of(guard.measure)
    largest = 1.0 - _least(kind)  # of a difference
    if guard.max is not None:
        values, clusters = place.flat(ours, guard.slice)
        return _above(values, alpha, clusters, kind, largest), guard.max, f"at most {guard.max:g}"
    if guard.max_ratio is not None:
        values, clusters = place.flat(ours - guard.max_ratio * theirs, guard.slice)
        return _above(values, alpha, clusters, kind, largest), 0.0, f"at most {guard.max_ratio:g} times the incumbent's"
    assert guard.margin is not None
    sign = -1 if kind.more_is_better else 1
    values, clusters = place.flat(sign * (ours - theirs), guard.slice)
    # Non-inferior is *below* the margin: at margin 0 a tie is not enough.
    limit = math.nextafter(guard.margin, -math.inf)
    return _above(values, alpha, clusters, kind, largest), limit, f"worse than the incumbent by less than {guard.margin:g}"
