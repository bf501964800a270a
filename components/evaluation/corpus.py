"""Measures of all items together, from each item's tallies, [n, 3, k]; what a tally counts depends on the gold."""

from collections.abc import Sequence

from ratchet.components.evaluation import labels, texts
from ratchet.components.recipe import OF_TEXTS
from ratchet.components.records import ItemResult
from ratchet.components.statistics.corpus import CORPUS_MEASURES
from ratchet.components.statistics.intervals import Floats, Integers, Interval, half_width, pseudo_values, standard_error

Samples = Sequence[ItemResult]


def item_tallies(measure: str, groups: Sequence[Samples]) -> Floats:
    """Tallies of one arm's items, none of which is missing, [n, 3, k]."""
    of_gold = texts.item_tallies if measure in OF_TEXTS else labels.item_tallies
    return of_gold(groups)


def arms_tallies(measure: str, ours: Sequence[Samples], theirs: Sequence[Samples], samples: int) -> tuple[Floats, Floats]:
    """Tallies of challenger and incumbent on the same n items, both [n, 3, k].

    Args:
        ours: the challenger's samples of each item; an item without any is missing, and is as bad as it can be.
        theirs: the incumbent's; a missing item is right.
        samples: K, of an item that is not missing.
    """
    of_gold = texts.arms_tallies if measure in OF_TEXTS else labels.arms_tallies
    return of_gold(ours, theirs, samples)


def corpus_interval(name: str, contributions: Floats, clusters: Integers | None = None) -> Interval:
    """A measure of all items, with Student's 95% interval from the (clustered) standard error of its pseudo-values.

    Args:
        contributions: tallies, [n, 3, k].
        clusters: of each item, [n].
    """
    measure = CORPUS_MEASURES[name]
    value = float(measure(contributions.sum(axis=0)))
    error, freedom = standard_error(pseudo_values(contributions, measure), clusters)
    half = half_width(error, freedom)
    return Interval(value, value - half, value + half, len(contributions), error)
