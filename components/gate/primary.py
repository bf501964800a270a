"""The primary tests: chosen from the rules before any data are seen."""

from collections.abc import Mapping

import numpy as np

from ratchet.components.evaluation.comparison import Comparison
from ratchet.components.recipe import Primary, Rules, kind_of
from ratchet.components.statistics.bounded import gaffke
from ratchet.components.statistics.corpus import CORPUS_MEASURES
from ratchet.components.statistics.intervals import half_width, standard_error
from ratchet.components.statistics.paired import (
    approximate_randomization,
    clustered_t,
    exact_mcnemar,
    resamples_for,
    sign_flip,
)

ENOUGH_REACHED = 400  # permutations that reach the observed gain: p is known within 5%, and large
NAMES = {
    "mcnemar": "exact McNemar, one sample per item",
    "gaffke": "Gaffke's test of a bounded mean",
    "sign_flip": "cluster sign-flip permutation",
    "clustered_t": "clustered t",
    "randomization": "approximate randomization",
}
ALL_OF = "all of "  # begins the words for several tests
Tests = Mapping[str, str]  # by measure


def choose_test(primary: Primary, samples: int, *, clustered: bool = False) -> str:
    """``mcnemar``, ``gaffke``, ``sign_flip``, ``clustered_t`` or ``randomization``; depends on the recipe alone.

    A test that is chosen holds its level however few and unequal the groups: McNemar's has none, and the others count by the
    sums of groups, whose sizes need not be equal.

    Args:
        samples: per item.
        clustered: whether the data tie items together (``data.group``).
    """
    kind = kind_of(primary.measure)
    if primary.test != "auto":
        return primary.test
    if kind.corpus:
        return "randomization"
    if kind.binary and (samples == 1 or kind.per_item) and primary.min_effect == 0 and not clustered:
        return "mcnemar"
    if kind.share:
        return "gaffke"
    return "sign_flip"


def choose_tests(rules: Rules, samples: int, *, clustered: bool = False) -> Tests:
    """The test of each primary measure."""
    return {one.measure: choose_test(one, samples, clustered=clustered) for one in rules.primaries}


def method(tests: Tests) -> str:
    """The tests in words, as verdicts record them: ``accuracy: exact McNemar, one sample per item``."""
    said = "; ".join(f"{measure}: {NAMES[test]}" for measure, test in tests.items())
    return said if len(tests) == 1 else f"{ALL_OF}{said}"


def first_measure(method: str) -> str:
    """The measure of the first test in a verdict's words."""
    return method.removeprefix(ALL_OF).partition(":")[0]


def primary_test(
    comparison: Comparison, primary: Primary, test: str, alpha: float, draws: np.random.Generator
) -> dict[str, float]:
    """``p_value`` of "the gain is above ``min_effect``", with the figures behind it. p is 1 if a figure is missing.

    Args:
        draws: fixes the permutation.
    """
    measure = primary.measure
    ours, theirs = comparison.figures(measure)
    differences, clusters = comparison.differences(measure)
    gain, half = ours - theirs, half_width(*standard_error(differences, clusters))
    figures = {
        f"challenger_{measure}": ours,
        f"incumbent_{measure}": theirs,
        "gain": gain,
        "gain_low": gain - half,
        "gain_high": gain + half,
        "items": float(len(comparison.pair(measure)[0])),
    }
    if not np.isfinite(differences).all():
        return {**figures, "p_value": 1.0}
    if test == "mcnemar":
        right, theirs_right = (arm[:, 0] > 0.5 for arm in comparison.pair(measure))
        result = exact_mcnemar(right, theirs_right)
        return {**figures, "wins": float(result.wins), "losses": float(result.losses), "p_value": result.p_value}
    return {**figures, "p_value": _p_value(comparison, primary, test, alpha, draws)}


def _p_value(comparison: Comparison, primary: Primary, test: str, alpha: float, draws: np.random.Generator) -> float:
    resamples, (differences, clusters) = resamples_for(alpha), comparison.differences(primary.measure)
    if test == "randomization":
        measure, arms = CORPUS_MEASURES[primary.measure], comparison.tallied()
        exchangeable = approximate_randomization(*arms, measure, clusters, draws, resamples, ENOUGH_REACHED)
        # Exact for exchangeable answers alone. Arms of equal macro-F1 with other habits (one says a rare label often, the other
        # seldom) are not, and exceed the level four to eight times; a test of the mean keeps it there. Both must be passed.
        if clusters is None:
            return max(exchangeable, clustered_t(differences, None))
        return max(exchangeable, sign_flip(differences, clusters, draws, resamples, ENOUGH_REACHED))
    beyond = differences - primary.min_effect
    if test == "gaffke":
        return gaffke(beyond, clusters, -1.0 - primary.min_effect)
    if test == "clustered_t":
        return clustered_t(beyond, clusters)
    return sign_flip(beyond, clusters, draws, resamples, ENOUGH_REACHED)
