"""Means, differences and ratios over few seeds, against values calculated by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from ratchet.components.statistics.seeds import detectable_difference, over_seeds, paired_difference, paired_ratio

T2 = 4.302652729911275  # Student's 0.975 quantile on 2 degrees of freedom


def test_three_seeds_have_the_interval_of_student_on_two_degrees_of_freedom() -> None:
    found = over_seeds(np.array([0.8, 0.9, 1.0]))  # sd 0.1, standard error 0.1 / sqrt(3)
    half = T2 * 0.1 / math.sqrt(3)
    assert found[:4] == pytest.approx((0.9, 0.9 - half, 0.9 + half, 3))


def test_one_seed_has_no_interval() -> None:
    found = over_seeds(np.array([0.8]))
    assert (found.value, found.low, found.high) == (0.8, -math.inf, math.inf)


def test_a_difference_is_paired_so_that_what_a_seed_shares_falls_out() -> None:
    first = np.array([0.1, 0.5, 0.9])
    found = paired_difference(first, first + 0.05)
    assert found[:3] == pytest.approx((0.05, 0.05, 0.05))


def test_a_ratio_is_the_geometric_mean() -> None:
    found = paired_ratio(np.array([1.0, 1.0]), np.array([2.0, 8.0]))
    assert found is not None and found.value == pytest.approx(4)
    half = float(stats.t.ppf(0.975, 1)) * math.log(2)  # of log 2 and log 8: sd sqrt(2) log 2, standard error log 2
    assert (found.low, found.high) == pytest.approx((4 * math.exp(-half), 4 * math.exp(half)))


def test_a_ratio_of_one_seed_has_no_interval_and_one_with_a_zero_is_none() -> None:
    found = paired_ratio(np.array([2.0]), np.array([3.0]))
    assert found is not None and found.value == pytest.approx(1.5)
    assert (found.low, found.high) == (0.0, math.inf)
    assert paired_ratio(np.array([1.0, 0.0]), np.array([1.0, 1.0])) is None


def test_what_three_seeds_can_see() -> None:
    # t_{0.975} = 4.303 and t_{0.8} = 1.061 on 2 degrees of freedom
    assert detectable_difference(0.01, 3) == pytest.approx(0.01 * (4.3027 + 1.0607), rel=1e-4)
    assert detectable_difference(0.01, 1) == math.inf


def test_a_difference_as_large_as_detectable_is_seen_about_four_times_in_five() -> None:
    draws, n = np.random.default_rng(0), 10
    gain = detectable_difference(1 / math.sqrt(n), n)
    found = [paired_difference(np.zeros(n), draws.normal(gain, 1, n)) for _ in range(2_000)]
    assert np.mean([one.low > 0 for one in found]) == pytest.approx(0.8, abs=0.04)
