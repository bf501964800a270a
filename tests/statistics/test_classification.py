"""Measures of a classification, by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from ratchet.components.statistics.classification import (
    balanced_accuracy,
    confusion,
    macro_f1,
    matthews_correlation,
    tallies,
)
from ratchet.components.statistics.corpus import CORPUS_MEASURES

REFERENCES = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 3, 0])  # the fifth is none of the three classes


def whole(references: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    return tallies(references, predictions, classes).sum(axis=0)


def test_counts_by_reference_and_prediction() -> None:
    assert confusion(REFERENCES, PREDICTIONS, 3).tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]


def test_tallies_of_items_add_up_to_right_references_and_predictions() -> None:
    assert tallies(REFERENCES, PREDICTIONS, 3).shape == (6, 3, 3)
    assert whole(REFERENCES, PREDICTIONS, 3).tolist() == [[2, 1, 0], [3, 2, 1], [3, 2, 0]]


def test_macro_f1_by_hand() -> None:
    # 2*2 / (3 + 3), 2*1 / (2 + 2), 0 / (1 + 0)
    assert macro_f1(whole(REFERENCES, PREDICTIONS, 3)) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_balanced_accuracy_by_hand() -> None:
    assert balanced_accuracy(whole(REFERENCES, PREDICTIONS, 3)) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert balanced_accuracy(whole(np.array([0, 0, 1]), np.array([0, 0, 0]), 2)) == pytest.approx(1 / 2)


@pytest.mark.parametrize("measure", [macro_f1, balanced_accuracy])
def test_a_class_without_a_reference_does_not_count(measure: Callable[[np.ndarray], np.ndarray]) -> None:
    two, three = (whole(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]), classes) for classes in (2, 3))
    assert measure(two) == measure(three)
    assert np.isnan(measure(np.zeros((3, 4))))


def test_matthews_correlation_of_two_classes_is_the_known_formula() -> None:
    # TP 3, FN 1, FP 2, TN 4: (3*4 - 2*1) / sqrt(5 * 4 * 6 * 5)
    references, predictions = np.array([0] * 4 + [1] * 6), np.array([0, 0, 0, 1, 0, 0, 1, 1, 1, 1])
    assert matthews_correlation(whole(references, predictions, 2)) == pytest.approx(10 / np.sqrt(600))


def test_a_prediction_of_no_class_is_a_class_of_its_own_for_matthews() -> None:
    # 6 items, 3 right; references 3 2 1; predictions 3 2 0 and 1 of none: (18 - 13) / sqrt((36 - 14) (36 - 14))
    assert matthews_correlation(whole(REFERENCES, PREDICTIONS, 3)) == pytest.approx(5 / 22)


@pytest.mark.parametrize("predictions", [REFERENCES, np.zeros(6, dtype=int)])
def test_all_right_is_one_and_one_class_for_all_is_nothing(predictions: np.ndarray) -> None:
    assert matthews_correlation(whole(REFERENCES, predictions, 3)) == (1.0 if predictions is REFERENCES else 0.0)


@pytest.mark.parametrize("measure", CORPUS_MEASURES.values())
def test_measures_of_many_tallies_at_once(measure: Callable[[np.ndarray], np.ndarray]) -> None:
    growing = tallies(REFERENCES, PREDICTIONS, 3).cumsum(axis=0)
    assert measure(growing).tolist() == [measure(one) for one in growing]
