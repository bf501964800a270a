"""Measures of a classification as a whole, from its confusion matrix. Pure functions on arrays.

A confusion matrix is [..., k, k + 1] for k classes: counts by reference (row) and by prediction (column), the last column for
predictions that are none of the classes. Matrices of single items add up, so these measures fit
:func:`ratchet.components.statistics.paired.approximate_randomization`.
"""

import numpy as np

from ratchet.components.statistics.intervals import Floats, Integers


def confusion(references: Integers, predictions: Integers, classes: int) -> Floats:
    """Each item's own confusion matrix, [n, k, k + 1].

    Args:
        references: class of each item, [n].
        predictions: [n]; k where a prediction is none of the classes.
        classes: k.
    """
    matrices = np.zeros((len(references), classes, classes + 1))
    matrices[np.arange(len(references)), references, predictions] = 1
    return matrices


def macro_f1(matrices: Floats) -> Floats:
    """The mean over classes of F1 = 2 TP / (references + predictions), [...]; classes without a reference do not count.

    NaN if no class has a reference.
    """
    right = np.diagonal(matrices[..., :-1], axis1=-2, axis2=-1)
    references, predictions = matrices.sum(axis=-1), matrices[..., :-1].sum(axis=-2)
    both = references + predictions
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    known = references > 0
    total, count = np.where(known, f1, 0.0).sum(axis=-1), known.sum(axis=-1)
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def matthews_correlation(matrices: Floats) -> Floats:
    """Matthews' correlation of k classes, [...] (R_K, Gorodkin 2004); 0 if references or predictions are all of one class.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2)), with c right of s items, and t_k references and p_k
    predictions of class k.
    """
    right = np.trace(matrices[..., :-1], axis1=-2, axis2=-1)
    references, predictions = matrices.sum(axis=-1), matrices.sum(axis=-2)
    items = references.sum(axis=-1)
    shared = (references * predictions[..., :-1]).sum(axis=-1)
    spread = (items**2 - (predictions**2).sum(axis=-1)) * (items**2 - (references**2).sum(axis=-1))
    correlation: Floats = np.divide(right * items - shared, np.sqrt(spread), out=np.zeros_like(items), where=spread > 0)
    return correlation
