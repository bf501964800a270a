"""Measures of a classification as a whole. Pure functions on arrays.

They are computed from tallies, [..., 3, k] for k classes: by class, the right predictions, the references and the predictions.
"""

import numpy as np

from ratchet.components.statistics.intervals import Floats, Integers


def tallies(references: Integers, predictions: Integers, classes: int) -> Floats:
    """Each item's own tallies, [n, 3, k].

    Args:
        references: class of each item, [n].
        predictions: [n]; k where a prediction is none of the classes.
        classes: k.
    """
    each = np.arange(classes)
    expected, named = references[:, None] == each, predictions[:, None] == each
    return np.stack([expected & named, expected, named], axis=1).astype(np.float64)


def confusion(references: Integers, predictions: Integers, classes: int) -> Integers:
    """Counts by reference (row) and by prediction (column), [k, k + 1]; arguments as of :func:`tallies`."""
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(counts, (references, predictions), 1)
    return counts


def macro_f1(counts: Floats) -> Floats:
    """The mean over classes of F1 = 2 right / (references + predictions), [...]; classes without a reference do not count.

    NaN if no class has a reference.
    """
    right, references, predictions = _parts(counts)
    return _mean_of_classes(_ratio(2 * right, references + predictions), references)


def balanced_accuracy(counts: Floats) -> Floats:
    """The mean over classes of recall = right / references, [...] (Brodersen et al. 2010); classes as in :func:`macro_f1`."""
    right, references, _ = _parts(counts)
    return _mean_of_classes(_ratio(right, references), references)


def matthews_correlation(counts: Floats) -> Floats:
    """Matthews' correlation of k classes, [...] (R_K, Gorodkin 2004); 0 if references or predictions are all of one class.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2)), with c right of s items, and t_k references and p_k
    predictions of class k. Predictions that are none of the classes are one more class.
    """
    right, references, predictions = _parts(counts)
    items = references.sum(axis=-1)
    none = items - predictions.sum(axis=-1)
    shared = (references * predictions).sum(axis=-1)
    spread = (items**2 - (predictions**2).sum(axis=-1) - none**2) * (items**2 - (references**2).sum(axis=-1))
    return _ratio(right.sum(axis=-1) * items - shared, np.sqrt(spread))


def _parts(counts: Floats) -> tuple[Floats, Floats, Floats]:
    return counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]


def _ratio(above: Floats, below: Floats) -> Floats:
    """Their ratio; 0 where there is nothing below."""
    quotient: Floats = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
    return quotient


def _mean_of_classes(values: Floats, references: Floats) -> Floats:
    known = references > 0
    total, count = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean
