"""From results to figures: every measure as an array over items and samples, and its summary.

Notation: n items, K samples per item. A measure of samples is [n, K]; one of an item as a whole is [n, 1].
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from ratchet.components.evaluation.corpus import corpus_interval, item_tallies
from ratchet.components.recipe import OF_LABELS, OF_TEXTS, is_measure, kind_of, samples_needed
from ratchet.components.records import ItemResult
from ratchet.components.statistics.intervals import Floats, Integers, Interval, mean_interval, share_interval

Samples = Sequence[ItemResult]

OF_A_SAMPLE: dict[str, Callable[[ItemResult], float | None]] = {
    "gold": lambda r: r.score,
    "accuracy": lambda r: r.passed,
    "accuracy_lenient": lambda r: r.parts.get("accuracy_lenient"),
    "format_rate": lambda r: r.parts.get("format_rate"),
    "length": lambda r: r.length,
    "kl": lambda r: r.kl,
    "kl_incumbent": lambda r: r.kl_incumbent,
    # What a measure of all items together is computed from.
    **dict.fromkeys(OF_LABELS, lambda r: None if r.expected is None else r.answer == r.expected),
    **dict.fromkeys(OF_TEXTS, lambda r: None if r.tallies is None else r.score),
}


def by_item(results: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
    """Item id -> its samples in order."""
    groups: dict[str, list[ItemResult]] = {}
    for result in sorted(results, key=lambda r: r.sample):
        groups.setdefault(result.id, []).append(result)
    return groups


def column(name: str, groups: Sequence[Samples]) -> Floats:
    """A measure of n items with K samples each, [n, K] or [n, 1]; NaN if a sample has no such figure."""
    if name == "greedy_accuracy":  # the groups are greedy completions, one per item
        return column("accuracy", groups)
    if name.startswith("maj@") and all(r.answer is None for group in groups for r in group):  # no answers to vote with
        return np.full((len(groups), 1), math.nan)
    if kind_of(name).per_item:
        return np.array([[_of_item(name, group)] for group in groups], dtype=float).reshape(len(groups), 1)
    get = OF_A_SAMPLE.get(name) or partial(_by_name, name)
    values = [[math.nan if (value := get(r)) is None else value for r in group] for group in groups]
    return np.array(values, dtype=float).reshape(len(groups), len(groups[0]) if groups else 1)


def _by_name(name: str, result: ItemResult) -> float | None:
    whose, _, part = name.partition("/")
    if whose == "gold":
        return result.parts.get(part)
    return result.grades.get(part) if whose == "grader" else result.rewards.get(name)


def flat(values: Floats, clusters: Integers | None = None) -> tuple[Floats, Integers | None]:
    """[n, K] as values [nK] and the cluster of each: of its item, else the item itself; none if each value is its own.

    Args:
        clusters: of each item, [n].
    """
    n, samples = values.shape
    if clusters is None and samples == 1:
        return values.ravel(), None
    return values.ravel(), np.repeat(np.arange(n) if clusters is None else clusters, samples)


def clusters_of(groups: Sequence[Samples]) -> Integers | None:
    """A number per item, equal for items of one group of the data, [n]; None where no item has a group.

    An item without samples stands alone.
    """
    clusters = [group[0].cluster if group else None for group in groups]
    if all(cluster is None for cluster in clusters):
        return None
    names = [f"item:{n}" if cluster is None else f"group:{cluster}" for n, cluster in enumerate(clusters)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _of_item(name: str, group: Samples) -> float:
    if name == "diversity":
        return math.nan if any(r.length is None for r in group) else distinct_bigrams([r.completion for r in group])
    samples = samples_needed(name)
    if name.startswith("pass@"):
        passed = [r.passed for r in group if r.passed is not None]
        return pass_at(samples, len(group), sum(passed)) if len(passed) == len(group) else math.nan
    return majority(group[:samples])


def pass_at(k: int, n: int, correct: int) -> float:
    """P(one of k of n samples is right), unbiased: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv:2107.03374)."""
    assert 1 <= k <= n
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def majority(group: Samples) -> float:
    """Whether the most frequent answer is right; ties go to the earliest. A sample without an answer does not vote."""
    votes = Counter(r.answer for r in group if r.answer is not None)
    if not votes:
        return 0.0
    winner = votes.most_common(1)[0][0]
    passed = next(r.passed for r in group if r.answer == winner)
    return math.nan if passed is None else float(passed)


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Distinct-2 of an item's samples together: the share of distinct word pairs (Li et al. 2016, arXiv:1510.03055)."""
    pairs = [pair for text in texts for pair in pairwise(text.split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def measures_of(groups: Sequence[Samples]) -> list[str]:
    """The measures available for these samples: those without gaps, and pass@2, 4, ... and maj@K as K allows.

    ``gold`` is one of them where its score says more than right or wrong.
    """
    if not groups:
        return ["accuracy"]
    first, every = groups[0], [r for group in groups for r in group]
    rewards = [name for name in first[0].rewards if all(name in r.rewards for r in every)]
    rewards += [f"grader/{name}" for name in first[0].grades]
    parts = [f"gold/{name}" for name in first[0].parts if name not in OF_A_SAMPLE and all(name in r.parts for r in every)]
    scored = [] if all(r.score == r.passed for r in every) else ["gold"]
    samples = len(first)
    of_samples = [f"pass@{2**power}" for power in range(1, samples.bit_length())]
    majorities = [f"maj@{samples}"] if samples > 2 else []
    of_all = [*OF_LABELS, *OF_TEXTS]
    one_each = [*scored, "accuracy", *of_all, "accuracy_lenient", "format_rate", "length", "diversity", "kl", "kl_incumbent"]
    names = [*one_each, *parts, *rewards, *of_samples, *majorities]
    return [name for name in names if is_measure(name) and not np.isnan(column(name, groups)).any()]


def summarise(results: Sequence[ItemResult]) -> dict[str, Interval]:
    """Measure -> figure with interval; standard errors are clustered by the data's groups, or by item with several samples.

    Items with a completion that the gold could not judge are left out.
    """
    every = list(by_item(results).values())
    groups = [group for group in every if all(r.score is not None for r in group)]
    return {name: _summary(name, groups) for name in measures_of(groups)}


def _summary(name: str, groups: Sequence[Samples]) -> Interval:
    if kind_of(name).corpus:
        return corpus_interval(name, item_tallies(name, groups), clusters_of(groups))
    return interval_of(name, column(name, groups), clusters_of(groups))


def interval_of(name: str, values: Floats, clusters: Integers | None = None) -> Interval:
    """Wilson's interval for a binary measure with one sample per independent item, else the normal one."""
    one_a_row, clusters = flat(values, clusters)
    if kind_of(name).binary and clusters is None:
        return share_interval(int(one_a_row.sum()), len(one_a_row))
    return mean_interval(one_a_row, clusters)


def sliced_summaries(results: Sequence[ItemResult], names: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """Slice -> summary of the items that belong to it."""
    return {name: summarise([r for r in results if name in r.slices]) for name in names}
