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
    # The mean is 2, without the one cluster or the other 3.5 or 0.5: sqrt(1/2 x (2.25 + 2.25)).
    values, clusters = np.array([0.0, 1.0, 3.0, 4.0]), np.array([5, 5, 9, 9])
    assert standard_error(values, clusters) == pytest.approx((1.5, 1))


def test_the_error_and_the_degrees_of_freedom_of_unequal_clusters_by_hand() -> None:
    # Sizes 2, 1, 1 and sums 2, 3, 5: the mean is 2.5, without a cluster 4, 7/3 and 5/3. The error is the root of
    # 2/3 (9/4 + 1/36 + 25/36) = 2/3 x 107/36.
    # q = 1, 1/3, 1/3: (5/3)^2 / (11/9 - 83/81 + 121/81) = (225/81) / (137/81).
    values, clusters = np.array([0.0, 2.0, 3.0, 5.0]), np.array([0, 0, 1, 2])
    assert standard_error(values, clusters) == pytest.approx((math.sqrt(107 / 54), 225 / 137))


def test_clusters_of_one_size_have_one_degree_of_freedom_less_than_there_are() -> None:
    assert standard_error(np.arange(12.0), np.repeat(np.arange(4), 3))[1] == pytest.approx(3)
    assert standard_error(np.arange(12.0))[1] == pytest.approx(11)


@pytest.mark.parametrize("sizes", [[12] * 5, [40, 5, 5, 5, 5], [50, 4, 3, 2, 1], [20] + [2] * 20])
def test_an_interval_holds_the_truth_as_often_as_it_says_however_unequal_the_groups(sizes: list[int]) -> None:
    rng, clusters, runs = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 600
    figures = [mean_interval(of_groups(rng, sizes), clusters) for _ in range(runs)]
    missed = np.mean([not figure.low <= 0 <= figure.high for figure in figures])
    assert missed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def of_groups(rng: np.random.Generator, sizes: list[int]) -> np.ndarray:
    """Values of a mean of 0; nine tenths of the variance are of groups, whose values are alike."""
    return np.repeat(rng.normal(size=len(sizes)), sizes) + rng.normal(0, 1 / 3, sum(sizes))


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
