"""From results to figures: every measure as an array over items and samples, and its summary.

Notation: n items, K samples per item. A measure of samples is [n, K]; one of an item as a whole is [n, 1].
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from ratchet.components.recipe import kind_of, samples_needed
from ratchet.components.records import ItemResult
from ratchet.components.statistics.intervals import Floats, Integers, Interval, mean_interval, share_interval

Samples = Sequence[ItemResult]

OF_A_SAMPLE: dict[str, Callable[[ItemResult], float | None]] = {
    "accuracy": lambda r: float(r.correct),
    "accuracy_lenient": lambda r: r.correct_lenient,
    "format_rate": lambda r: r.formatted,
    "length": lambda r: r.length,
    "kl": lambda r: r.kl,
    "kl_incumbent": lambda r: r.kl_incumbent,
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
        return np.array([[float(group[0].correct)] for group in groups]).reshape(len(groups), 1)
    if kind_of(name).per_item:
        return np.array([[_of_item(name, group)] for group in groups], dtype=float).reshape(len(groups), 1)
    get = OF_A_SAMPLE.get(name) or partial(_reward, name)
    values = [[math.nan if (value := get(r)) is None else value for r in group] for group in groups]
    return np.array(values, dtype=float).reshape(len(groups), len(groups[0]) if groups else 1)


def _reward(name: str, result: ItemResult) -> float | None:
    return result.rewards.get(name)


def flat(values: Floats) -> tuple[Floats, Integers | None]:
    """[n, K] as values [nK] and the cluster (item) of each; no clusters if K is 1."""
    n, samples = values.shape
    return values.ravel(), None if samples == 1 else np.repeat(np.arange(n), samples)


def _of_item(name: str, group: Samples) -> float:
    if name == "diversity":
        return math.nan if any(r.length is None for r in group) else distinct_bigrams([r.completion for r in group])
    samples = samples_needed(name)
    if name.startswith("pass@"):
        return pass_at(samples, len(group), sum(r.correct for r in group))
    if any(r.formatted is None for r in group):  # no extracted answer to vote with
        return math.nan
    return majority(group[:samples])


def pass_at(k: int, n: int, correct: int) -> float:
    """P(one of k of n samples is right), unbiased: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv:2107.03374)."""
    assert 1 <= k <= n
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def majority(group: Samples) -> float:
    """Whether the most frequent strict answer is right; ties go to the earliest. A sample without an answer does not vote."""
    votes = Counter(r.answer for r in group if r.answer is not None)
    if not votes:
        return 0.0
    winner = votes.most_common(1)[0][0]
    return float(next(r.correct for r in group if r.answer == winner))


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Distinct-2 of an item's samples together: the share of distinct word pairs (Li et al. 2016, arXiv:1510.03055)."""
    pairs = [pair for text in texts for pair in pairwise(text.split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def measures_of(groups: Sequence[Samples]) -> list[str]:
    """The measures available for these samples: those without gaps, and pass@2, 4, ... and maj@K as K allows."""
    if not groups:
        return ["accuracy", "accuracy_lenient", "format_rate"]
    first = groups[0]
    rewards = [name for name in first[0].rewards if all(name in r.rewards for group in groups for r in group)]
    samples = len(first)
    of_samples = [f"pass@{2**power}" for power in range(1, samples.bit_length())]
    majorities = [f"maj@{samples}"] if samples > 2 else []
    one_each = ["accuracy", "accuracy_lenient", "format_rate", "length", "diversity", "kl", "kl_incumbent"]
    names = [*one_each, *rewards, *of_samples, *majorities]
    return [name for name in names if not np.isnan(column(name, groups)).any()]


def summarise(results: Sequence[ItemResult]) -> dict[str, Interval]:
    """Measure -> figure with interval; standard errors are clustered by item if there are several samples."""
    groups = list(by_item(results).values())
    return {name: interval_of(name, column(name, groups)) for name in measures_of(groups)}


def interval_of(name: str, values: Floats) -> Interval:
    """Wilson's interval for a binary measure with one sample per item, else the normal one."""
    one_a_row, clusters = flat(values)
    if kind_of(name).binary and clusters is None:
        return share_interval(int(one_a_row.sum()), len(one_a_row))
    return mean_interval(one_a_row, clusters)


def sliced_summaries(results: Sequence[ItemResult], names: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """Slice -> summary of the items that belong to it."""
    return {name: summarise([r for r in results if name in r.slices]) for name in names}
