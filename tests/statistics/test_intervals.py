"""Intervals, bounds and clusters, by hand where a hand can do it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ratchet.components.statistics.intervals import (
    cluster_sums,
    clustered_mean,
    clustered_share,
    lower_bound_share,
    mean_interval,
    pseudo_values,
    share_interval,
    standard_error,
    total_by_cluster,
    upper_bound,
    wilson,
)


def test_wilsons_interval_by_hand() -> None:
    # n = 10, p = 0.8, z = 1.96, z^2 = 3.8415: centre (0.8 + 0.19207) / 1.38415 = 0.71674,
    # half width 1.96 sqrt(0.016 + 0.0096037) / 1.38415 = 0.22657
    assert share_interval(8, 10)[:4] == pytest.approx((0.8, 0.49016, 0.94331, 10), abs=1e-4)


def test_the_share_of_nothing_is_unknown() -> None:
    figure = share_interval(0, 0)
    assert math.isnan(figure.value)
    assert (figure.low, figure.high, figure.n) == (0, 1, 0)


@given(st.integers(1, 2000), st.data())
def test_whole_counts_have_scipys_interval_to_the_last_bit(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes / n, n) == (theirs.low, theirs.high)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.data())
def test_an_interval_holds_its_value_and_stays_within_zero_and_one(n: int, data: st.DataObject) -> None:
    figure = share_interval(data.draw(st.integers(0, n)), n)
    assert 0 <= figure.low <= figure.value + 1e-12
    assert figure.value - 1e-12 <= figure.high <= 1


def test_the_upper_bound_of_a_mean_by_hand() -> None:
    # mean 2, deviation 1, t(0.95, 2) = 2.919986: 2 + 2.919986 / sqrt(3)
    assert upper_bound(np.array([1.0, 2.0, 3.0]), 0.05) == pytest.approx(3.685855)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [1.0, -math.inf]])
def test_a_mean_that_cannot_be_bounded_has_an_infinite_bound(values: list[float]) -> None:
    assert upper_bound(np.array(values), 0.05) == math.inf


def test_the_upper_bound_is_above_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = [upper_bound(rng.normal(size=20), 0.1) >= 0 for _ in range(1000)]
    assert np.mean(covered) == pytest.approx(0.9, abs=3 * math.sqrt(0.09 / 1000))  # three standard errors


@pytest.mark.parametrize(
    ("successes", "expected"),
    [
        (10, 0.741134),  # 0.05^(1/10): all ten right
        (1, 0.005116),  # 1 - 0.95^(1/10): at least one right with probability 0.05
        (0, 0.0),
    ],
)
def test_the_lower_bound_of_a_share_by_hand(successes: int, expected: float) -> None:
    assert lower_bound_share(successes, 10, 0.05) == pytest.approx(expected, abs=1e-6)


def test_the_lower_bound_of_no_items_is_zero() -> None:
    assert lower_bound_share(0, 0, 0.05) == 0


def test_the_clustered_error_by_hand() -> None:
    # deviations from the mean 2: (-2, -1), (1, 2); sums -3 and 3; sqrt(2/1 x 18) / 4
    values, clusters = np.array([0.0, 1.0, 3.0, 4.0]), np.array([5, 5, 9, 9])
    assert standard_error(values, clusters) == pytest.approx((1.5, 2))


def test_clusters_of_one_are_no_clusters() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert standard_error(values, np.arange(30)) == pytest.approx(standard_error(values))
    assert standard_error(values)[0] == pytest.approx(values.std(ddof=1) / math.sqrt(30))


def test_samples_of_one_prompt_are_not_independent() -> None:
    answers = np.repeat(np.random.default_rng(0).random(50) < 0.5, 8).astype(float)  # eight samples that always agree
    clusters = np.repeat(np.arange(50), 8)
    assert mean_interval(answers, clusters).error == pytest.approx(math.sqrt(8) * mean_interval(answers).error, rel=0.02)


def test_the_mean_of_nothing_is_unknown() -> None:
    assert math.isnan(mean_interval(np.array([])).value)
    assert math.isnan(mean_interval(np.array([1.0])).error)


def test_without_clustering_a_share_has_wilsons_interval() -> None:
    # Ten of ten, z = 1.96: low = 10 / (10 + 3.8415) = 0.7225, high = 1.
    figure = clustered_share(np.ones(10), np.ones(10))
    assert figure[:4] == pytest.approx((1.0, 0.7225, 1.0, 10), abs=1e-4)


def test_equal_answers_of_one_prompt_count_as_one() -> None:
    # Ten prompts of four equal answers each, half of them right, say what ten single answers say.
    single = clustered_share(np.array([1.0, 0.0] * 5), np.ones(10))
    four = clustered_share(np.array([4.0, 0.0] * 5), np.full(10, 4.0))
    assert four[:4] == pytest.approx(single[:4])


def test_no_clusters_say_nothing() -> None:
    figure = clustered_share(np.zeros(3), np.zeros(3))
    assert math.isnan(figure.value)
    assert figure[1:4] == (0.0, 1.0, 0)


def test_a_mean_of_single_values_has_students_interval() -> None:
    # 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.303: half width 2.484.
    figure = clustered_mean(np.array([1.0, 2.0, 3.0]), np.ones(3))
    assert figure == (2.0, pytest.approx(-0.484, abs=1e-3), pytest.approx(4.484, abs=1e-3), 3, pytest.approx(3**-0.5))


def test_without_names_every_value_is_a_cluster() -> None:
    sums, counts = cluster_sums(np.array([1.0, 2.0]), None)
    assert (sums.tolist(), counts.tolist()) == ([1.0, 2.0], [1.0, 1.0])


def test_cluster_sums_keep_the_order_of_appearance() -> None:
    sums, counts = cluster_sums(np.array([1.0, 2.0, 4.0]), ["b", "a", "b"])
    assert (sums.tolist(), counts.tolist()) == ([5.0, 2.0], [2.0, 1.0])


def mean_of(totals: np.ndarray) -> np.ndarray:
    """A mean, from totals of value and count, [..., 2]."""
    share: np.ndarray = totals[..., 0] / totals[..., 1]
    return share


def test_the_pseudo_values_of_a_mean_are_the_values() -> None:
    values = np.array([1.0, 4.0, 2.5, 0.0])
    assert pseudo_values(np.stack([values, np.ones(4)], axis=1), mean_of) == pytest.approx(values)


def test_the_pseudo_values_of_a_ratio_by_hand() -> None:
    # 6/4 of all; 5/3, 2/2 and 5/3 without one: 3 * 1.5 - 2 * each
    found = pseudo_values(np.array([[1.0, 1.0], [4.0, 2.0], [1.0, 1.0]]), mean_of)
    assert found == pytest.approx([4.5 - 10 / 3, 4.5 - 2, 4.5 - 10 / 3])


def test_totals_of_clusters_keep_shape_and_order() -> None:
    contributions = np.arange(12.0).reshape(3, 2, 2)
    assert total_by_cluster(contributions, ["b", "a", "b"]).tolist() == [[[8, 10], [12, 14]], [[4, 5], [6, 7]]]
    assert total_by_cluster(contributions, None) is contributions
