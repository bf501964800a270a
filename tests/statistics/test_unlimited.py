"""The bound of a mean of values without limits: by hand, and its level."""

import math

import numpy as np
import pytest

from ratchet.components.statistics.paired import sign_flip
from ratchet.components.statistics.unlimited import fewest_clusters, unlimited_above
from tests.statistics.test_intervals import of_groups


def test_the_bound_is_a_quantile_of_the_means_of_subsets() -> None:
    # 1, 2, 3, 1.5, 2, 2.5 and 2; of all eight with the empty one, a quarter are 2: the second largest that is not empty.
    assert unlimited_above(np.array([1.0, 2.0, 3.0]), 0.25) == 2.5
    # Clusters of sizes 2, 1 and 1 with sums 2, 3 and 5: 1, 3, 5, 5/3, 7/3, 4 and 10/4.
    assert unlimited_above(np.array([0.0, 2.0, 3.0, 5.0]), 0.25, np.array([0, 0, 1, 2])) == 4


@pytest.mark.parametrize("clusters", [8, 40])
def test_it_is_where_the_sign_flip_test_begins_to_reject(clusters: int) -> None:
    names = np.repeat(np.arange(clusters), np.arange(clusters) % 3 + 1)
    values = -(np.random.default_rng(1).exponential(size=len(names)))  # skewed to the other side: the bound is not raised
    bound = unlimited_above(values, 0.1, names)
    p_value = sign_flip(bound + 1e-6 - values, names, np.random.default_rng(0), 20_000)
    assert p_value == pytest.approx(0.1, abs=0.02)


def test_a_long_upper_tail_raises_it_to_where_halls_transformation_has_it() -> None:
    # Of 32 subsets one: the largest mean, 10. The mean is 2, the rests -2, -2, -2, -2 and 8.
    bound = unlimited_above(np.array([0.0, 0.0, 0.0, 0.0, 10.0]), 0.05)
    error, a = math.sqrt(80) / 5, 480 / 80**1.5
    t = (2 - bound) / error
    assert t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6 == pytest.approx((2 - 10) / error)
    assert bound > 10


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 4, [1.0, math.nan] * 5, [1.0, math.inf] * 5, [1.0, -math.inf] * 5])
def test_a_mean_that_cannot_be_bounded_has_an_infinite_bound(values: list[float]) -> None:
    assert unlimited_above(np.array(values), 0.05) == math.inf


def test_clusters_and_not_values_must_be_enough() -> None:
    assert (fewest_clusters(0.05), fewest_clusters(0.25), fewest_clusters(0.05 / 26)) == (5, 2, 10)
    values = np.random.default_rng(0).normal(size=40)
    assert unlimited_above(values, 0.05, np.arange(40) % 4) == math.inf
    assert math.isfinite(unlimited_above(values, 0.05, np.arange(40) % 5))


def test_without_any_spread_it_is_the_mean_or_allows_for_what_was_not_seen() -> None:
    assert unlimited_above(np.full(30, 2.0), 0.05) == 2
    assert unlimited_above(np.repeat([1.0, 3.0], 5), 0.05, np.tile(np.arange(5), 2)) == pytest.approx(2)  # clusters alike
    assert unlimited_above(np.zeros(4), 0.05, None, 1.0) == pytest.approx(1 - 0.05**0.25)


def test_the_order_of_items_and_the_names_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, names, order = rng.exponential(size=60), rng.integers(0, 20, 60), rng.permutation(60)
    assert unlimited_above(values[order], 0.05, (7 * names)[order]) == pytest.approx(unlimited_above(values, 0.05, names))


@pytest.mark.parametrize("sizes", [[12] * 5, [40, 5, 5, 5, 5], [50, 4, 3, 2, 1], [20] + [2] * 20])
def test_the_level_holds_however_few_and_unequal_the_groups(sizes: list[int]) -> None:
    rng, names, runs = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 400
    missed = np.mean([unlimited_above(of_groups(rng, sizes), 0.05, names) < 0 for _ in range(runs)])
    assert missed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_the_level_holds_for_values_with_a_moderate_tail() -> None:
    rng, runs = np.random.default_rng(0), 800  # Student's t misses the mean in 0.085 of them
    missed = np.mean([unlimited_above(rng.exponential(size=60), 0.05) < 1 for _ in range(runs)])
    assert missed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
