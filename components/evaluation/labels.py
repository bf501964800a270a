"""Of a gold of labels, each item's tallies and the confusion matrix.

Every sample of an item adds to its tallies, [n, 3, k] (:mod:`ratchet.components.statistics.classification`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ratchet.components.records import ItemResult
from ratchet.components.statistics.classification import confusion, tallies
from ratchet.components.statistics.intervals import Floats, Integers

Samples = Sequence[ItemResult]
Answers = Sequence[str | None]
UNKNOWN = ""  # the class of an item whose reference no arm's results have; no label is empty


def arms_tallies(ours: Sequence[Samples], theirs: Sequence[Samples], samples: int) -> tuple[Floats, Floats]:
    """Tallies of challenger and incumbent on the same n items, both [n, 3, k].

    Args:
        ours: the challenger's samples of each item. An item without any is missing: the challenger names a wrong label on it,
            the incumbent the right one. No label at all would spare the challenger a false positive.
        theirs: the incumbent's, likewise.
        samples: K, of an item that is not missing.
    """
    expected = [_expected([*a, *b]) for a, b in zip(ours, theirs, strict=True)]
    answers = [[r.answer for r in group] for group in ours]
    named_theirs = [[r.answer for r in group] or [label] * samples for label, group in zip(expected, theirs, strict=True)]
    labels = sorted({*expected, *_named(answers), *_named(named_theirs)})
    named = _with_wrong(expected, answers, labels, samples)
    return _tallies(expected, named, labels), _tallies(expected, named_theirs, labels)


def item_tallies(groups: Sequence[Samples]) -> Floats:
    """Tallies of one arm's items, none of which is missing, [n, 3, k]."""
    named, expected = [[r.answer for r in group] for group in groups], [_expected(group) for group in groups]
    return _tallies(expected, named, sorted({*expected, *_named(named)}))


def confusion_of(results: Sequence[ItemResult], labels: Sequence[str]) -> dict[str, Any]:
    """``labels``, and ``counts`` by reference (row) and answer (column), of which the last is: none of the labels.

    Completions that the gold could not judge are left out.
    """
    judged = [r for r in results if r.expected is not None]
    counts = confusion(
        _numbers([r.expected for r in judged], labels), _numbers([r.answer for r in judged], labels), len(labels)
    )
    return {"labels": list(labels), "counts": counts.tolist()}


def _expected(group: Iterable[ItemResult]) -> str:
    return next((r.expected for r in group if r.expected is not None), UNKNOWN)


def _named(answers: Iterable[Iterable[str | None]]) -> set[str]:
    return {answer for group in answers for answer in group if answer is not None}


def _with_wrong(expected: Sequence[str], named: Sequence[Answers], labels: Sequence[str], samples: int) -> list[Answers]:
    """The answers of every item; those of one without any are K times a wrong label."""
    counts = _tallies(expected, [answers or [None] for answers in named], labels).sum(axis=0)
    filled: list[Answers] = []
    for label, answers in zip(expected, named, strict=True):
        wrong = None if answers else _costliest(label, counts, labels, samples)
        if wrong is not None:
            counts[2, labels.index(wrong)] += samples
        filled.append(answers or [wrong] * samples)
    return filled


def _costliest(label: str, counts: Floats, labels: Sequence[str], samples: int) -> str | None:
    """The wrong label whose F1 falls most by K more predictions; None if there is no other label."""
    right, references, predictions = counts
    size = np.maximum(references + predictions, 1)
    loss = right / size - right / (size + samples)
    others = [place for place, name in enumerate(labels) if name not in (label, UNKNOWN)]
    return labels[max(others, key=lambda place: loss[place])] if others else None


def _numbers(names: Sequence[str | None], labels: Sequence[str]) -> Integers:
    """The place of each name among the labels; their number where there is none."""
    places = {label: number for number, label in enumerate(labels)}
    return np.array([len(labels) if name is None else places[name] for name in names], dtype=np.int64)


def _tallies(expected: Sequence[str], named: Sequence[Sequence[str | None]], labels: Sequence[str]) -> Floats:
    every = [(right, answer) for right, answers in zip(expected, named, strict=True) for answer in answers]
    each = tallies(_numbers([a for a, _ in every], labels), _numbers([b for _, b in every], labels), len(labels))
    starts = np.cumsum([0, *(len(answers) for answers in named)])[:-1]
    return np.add.reduceat(each, starts, axis=0) if len(every) else each
