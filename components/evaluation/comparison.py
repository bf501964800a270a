"""Two models' results on the same items, as arrays for the rules.

Notation: n items, K samples per item; a measure is [n, K], or [n, 1] if it describes the item as a whole.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ratchet.components.evaluation.corpus import arms_tallies
from ratchet.components.evaluation.measures import Samples, by_item, clusters_of, column, flat
from ratchet.components.recipe import Rules, is_of_gold, kind_of
from ratchet.components.records import Arm, Decoding, ItemResult, rows_name
from ratchet.components.statistics.corpus import CORPUS_MEASURES
from ratchet.components.statistics.intervals import Booleans, Floats, Integers, pseudo_values

GREEDY = "greedy_accuracy"


@dataclass(frozen=True)
class Arms:
    """What was measured, by item. An item without all its samples is missing, or with one that its gold could not judge.

    Attributes:
        greedy: arm -> item -> its greedy completion, if the rules need it.
    """

    items: Sequence[str]
    challenger: Mapping[str, Samples]
    incumbent: Mapping[str, Samples]
    challenger_digest: str
    incumbent_digest: str
    samples: int = 1
    greedy: Mapping[Arm, Mapping[str, Samples]] = field(default_factory=dict)

    def results(self, arm: Arm, measure: str) -> Mapping[str, Samples]:
        """The results that a measure of an arm is computed from."""
        return self.greedy.get(arm, {}) if measure == GREEDY else getattr(self, arm)

    def missing(self, arm: Arm, measure: str = "gold") -> list[str]:
        """Items without all the samples that a measure needs."""
        results, needed = self.results(arm, measure), 1 if measure == GREEDY else self.samples

        def whole(group: Samples) -> bool:
            judged = not is_of_gold(measure) or all(r.score is not None for r in group)
            return len(group) == needed and judged

        return [item for item in self.items if not whole(results.get(item, ()))]


@dataclass(frozen=True)
class Figures:
    """One arm's values by measure, [n, K], and the items that are missing, [n]."""

    values: Mapping[str, Floats]
    missing: Mapping[str, Booleans]


@dataclass(frozen=True)
class Comparison:
    """Both arms on the same n items."""

    challenger: Figures
    incumbent: Figures
    slices: Mapping[str, Booleans] = field(default_factory=dict)  # [n]
    clusters: Integers | None = None  # of each item, [n]; None: every item is its own
    tallies: tuple[Floats, Floats] | None = None  # of both arms, [n, 3, k] each, if a measure is of all items together

    @property
    def items(self) -> int:
        """n."""
        return len(next(iter(self.challenger.missing.values()), ()))

    @property
    def groups(self) -> int | None:
        """How many groups the items are of; None if the data tie none together."""
        return None if self.clusters is None else len(np.unique(self.clusters))

    def pair(self, measure: str, piece: str | None = None) -> tuple[Floats, Floats]:
        """Values of both arms, [n, K]; a missing item counts against the challenger, whichever side it is missing from.

        Of a measure of all items together they are its pseudo-values, [n, 1].
        """
        if kind_of(measure).corpus:
            ours, theirs = (pseudo_values(arm, CORPUS_MEASURES[measure]) for arm in self.tallied(piece))
            return ours[:, None], theirs[:, None]
        ours, theirs = self.challenger.values[measure], self.incumbent.values[measure]
        best, worst = _extremes(measure, ours, theirs)
        ours = np.where(self.challenger.missing[measure][:, None], worst, ours)
        theirs = np.where(self.incumbent.missing[measure][:, None], best, theirs)
        if piece is None:
            return ours, theirs
        inside = self.slices[piece]
        return ours[inside], theirs[inside]

    def tallied(self, piece: str | None = None) -> tuple[Floats, Floats]:
        """Tallies of both arms, [n, 3, k]; a missing item counts as in :meth:`pair`."""
        assert self.tallies is not None
        ours, theirs = self.tallies
        return (ours, theirs) if piece is None else (ours[self.slices[piece]], theirs[self.slices[piece]])

    def figures(self, measure: str, piece: str | None = None) -> tuple[float, float]:
        """The measure of both arms; NaN without items."""
        if kind_of(measure).corpus:
            ours, theirs = (float(CORPUS_MEASURES[measure](arm.sum(axis=0))) for arm in self.tallied(piece))
            return ours, theirs
        ours, theirs = (float(arm.mean()) if arm.size else math.nan for arm in self.pair(measure, piece))
        return ours, theirs

    def flat(self, values: Floats, piece: str | None = None) -> tuple[Floats, Integers | None]:
        """Values of the items, [n, K], as one per sample, and the cluster of each."""
        clusters = self.clusters if self.clusters is None or piece is None else self.clusters[self.slices[piece]]
        return flat(values, clusters)

    def differences(self, measure: str, piece: str | None = None) -> tuple[Floats, Integers | None]:
        """Challenger minus incumbent, one value per sample, and the cluster of each."""
        ours, theirs = self.pair(measure, piece)
        return self.flat(ours - theirs, piece)


def _extremes(measure: str, ours: Floats, theirs: Floats) -> tuple[float, float]:
    """(best, worst) value: 1 and 0 for a share, else the extremes observed."""
    kind = kind_of(measure)
    if kind.share:
        return 1.0, 0.0
    seen = np.concatenate([ours.ravel(), theirs.ravel()])
    seen = seen[~np.isnan(seen)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
    return (high, low) if kind.more_is_better else (low, high)


def compare(arms: Arms, measures: Iterable[str]) -> Comparison:
    """The arrays of some measures."""
    names = list(dict.fromkeys(measures))
    challenger, incumbent = (_figures(arms, arm, names) for arm in Arm)
    slices = {name for group in arms.challenger.values() for r in group for name in r.slices}
    members = {name: np.array([_belongs(arms, item, name) for item in arms.items], dtype=bool) for name in slices}
    of_all = [name for name in names if kind_of(name).corpus]  # of one gold, and so from the same tallies
    tallies = _tallies(arms, of_all[0]) if of_all else None
    return Comparison(challenger, incumbent, members, _clusters(arms), tallies)


def _tallies(arms: Arms, measure: str) -> tuple[Floats, Floats]:
    """Tallies of both arms, to which a missing item adds a wrong answer of the challenger, and a right one of the incumbent."""
    gone = {arm: set(arms.missing(arm)) for arm in Arm}
    ours, theirs = ([() if i in gone[arm] else arms.results(arm, "gold")[i] for i in arms.items] for arm in Arm)
    return arms_tallies(measure, ours, theirs, arms.samples)


def _clusters(arms: Arms) -> Integers | None:
    return clusters_of([arms.challenger.get(item) or arms.incumbent.get(item) or [] for item in arms.items])


def _figures(arms: Arms, arm: Arm, measures: Sequence[str]) -> Figures:
    values, missing = {}, {}
    for name in measures:
        results, gone = arms.results(arm, name), set(arms.missing(arm, name))
        present = np.array([item not in gone for item in arms.items], dtype=bool)
        whole = column(name, [results[item] for item in arms.items if item not in gone])
        width = 1 if kind_of(name).per_item else arms.samples
        filled = np.full((len(arms.items), width), np.nan)
        filled[present] = whole if len(whole) else np.empty((0, width))
        values[name], missing[name] = filled, ~present
    return Figures(values, missing)


def _belongs(arms: Arms, item: str, name: str) -> bool:
    group = arms.challenger.get(item) or arms.incumbent.get(item) or []
    return bool(group) and name in group[0].slices


def arms_of(
    items: Sequence[str] | None, rows: Mapping[str, Sequence[ItemResult]], digests: Mapping[str, str], samples: int
) -> Arms:
    """Arms from results by :func:`ratchet.components.records.rows_name`; greedy ones where there are such.

    Args:
        items: all that should have been measured; None takes those that the challenger was measured on.
    """
    challenger, incumbent = (rows[rows_name(arm, Decoding.SAMPLED)] for arm in Arm)
    if items is None:
        items = list(dict.fromkeys(result.id for result in challenger))
    names = {arm: rows_name(arm, Decoding.GREEDY) for arm in Arm}
    greedy = {arm: by_item(rows[name]) for arm, name in names.items() if name in rows}
    return Arms(items, by_item(challenger), by_item(incumbent), digests["challenger"], digests["incumbent"], samples, greedy)


def measures_on(rules: Rules, place: str) -> list[str]:
    """The measures that rules need on the sealed fold, the guard split or a benchmark."""
    primary = [one.measure for one in rules.primaries] if place == "sealed" else []
    return list(dict.fromkeys([*primary, *(guard.measure for guard in rules.guards if guard.on == place)]))


def needs_greedy(rules: Rules, place: str) -> bool:
    """Whether greedy completions are needed there."""
    return GREEDY in measures_on(rules, place)
