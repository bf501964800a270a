"""Temperature, ECE and Brier by hand and by property."""

import numpy as np
import pytest
from scipy.special import expit

from ratchet.components.statistics.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def drawn(scale: float, n: int = 20_000) -> np.ndarray:
    """Differences whose preferred answer is right with chance sigmoid(|d| / scale)."""
    random = np.random.default_rng(0)
    d = np.abs(random.normal(0, 3, n))
    return np.where(random.random(n) < expit(d / scale), d, -d)


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_the_temperature_by_which_differences_are_too_large_is_found(scale: float) -> None:
    assert fit_temperature(drawn(scale)) == pytest.approx(scale, rel=0.08)


def test_a_fitted_temperature_calibrates() -> None:
    differences = drawn(4.0)
    assert expected_calibration_error(differences) > 0.15
    assert expected_calibration_error(differences / fit_temperature(differences)) < 0.02


def test_the_temperature_stays_bounded_where_no_pair_is_wrong() -> None:
    assert fit_temperature(np.ones(5)) == pytest.approx(np.exp(-5), rel=0.01)
    assert fit_temperature(np.zeros(0)) == 1.0


def test_a_sure_judge_that_is_right_three_times_of_four_is_off_by_a_quarter() -> None:
    assert expected_calibration_error(np.array([50.0, 50.0, 50.0, -50.0]), 1) == pytest.approx(0.25)


def test_a_coin_has_a_brier_score_of_a_quarter_and_log_two() -> None:
    assert (brier_score(np.zeros(3)), negative_log_likelihood(np.zeros(3))) == pytest.approx((0.25, 0.6931), abs=1e-4)


def test_bins_hold_equally_many_least_confident_first() -> None:
    bins = reliability(np.array([3.0, -1.0, 0.0, 2.0]), 2)
    # |d| of 0 and 1: one tie (half) and one wrong; |d| of 2 and 3: both right.
    assert [(b.accuracy, b.size) for b in bins] == [(0.25, 2), (1.0, 2)]
    assert bins[0].confidence == pytest.approx((0.5 + 0.7311) / 2, abs=1e-4)
