"""Measures of a confusion matrix, by hand."""

import numpy as np
import pytest

from ratchet.components.statistics.classification import confusion, macro_f1, matthews_correlation

REFERENCES = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 3, 0])  # the fifth is none of the three classes


def test_items_matrices_add_up_to_the_confusion_matrix() -> None:
    whole = confusion(REFERENCES, PREDICTIONS, 3).sum(axis=0)
    assert whole.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]


def test_macro_f1_by_hand() -> None:
    # F1: 2*2 / (3 + 3), 2*1 / (2 + 2), 0 / (1 + 0)
    assert macro_f1(confusion(REFERENCES, PREDICTIONS, 3).sum(axis=0)) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_a_class_without_a_reference_does_not_count() -> None:
    matrices = confusion(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]), 3).sum(axis=0)
    assert macro_f1(matrices) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(macro_f1(np.zeros((3, 4))))


def test_matthews_correlation_of_two_classes_is_the_known_formula() -> None:
    # TP 3, FN 1, FP 2, TN 4: (3*4 - 2*1) / sqrt(5 * 4 * 6 * 5)
    matrix = np.array([[3.0, 1, 0], [2, 4, 0]])
    assert matthews_correlation(matrix) == pytest.approx(10 / np.sqrt(600))


@pytest.mark.parametrize("predictions", [REFERENCES, np.zeros(6, dtype=int)])
def test_all_right_is_one_and_one_class_for_all_is_nothing(predictions: np.ndarray) -> None:
    matrix = confusion(REFERENCES, predictions, 3).sum(axis=0)
    assert matthews_correlation(matrix) == (1.0 if predictions is REFERENCES else 0.0)


def test_measures_of_many_matrices_at_once() -> None:
    matrices = confusion(REFERENCES, PREDICTIONS, 3).cumsum(axis=0)
    assert macro_f1(matrices).shape == matthews_correlation(matrices).shape == (6,)
    assert macro_f1(matrices)[-1] == macro_f1(matrices[-1])
