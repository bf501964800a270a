"""Shares, means and curves by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.statistics.clusters import (
    best_of_n,
    best_of_n_kl,
    cluster_sums,
    clustered_mean,
    clustered_share,
    discordant_wins,
    sizes_up_to,
    wins,
)


def test_a_tie_counts_half_and_a_missing_score_counts_as_lost() -> None:
    assert wins(np.array([2.0, 0.0, 1.0, math.nan]), np.array([1.0, 1.0, 1.0, 0.0])).tolist() == [1.0, 0.0, 0.5, 0.0]


def test_without_clustering_a_share_has_wilsons_interval() -> None:
    # Ten of ten, z = 1.96: low = 10 / (10 + 3.8415) = 0.7225, high = 1.
    figure = clustered_share(np.ones(10), np.ones(10))
    assert figure == pytest.approx((1.0, 0.7225, 1.0, 10), abs=1e-4)


def test_equal_answers_of_one_prompt_count_as_one() -> None:
    # Ten prompts of four equal answers each, half of them right, say what ten single answers say.
    once = clustered_share(np.array([1.0, 0.0] * 5), np.ones(10))
    four = clustered_share(np.array([4.0, 0.0] * 5), np.full(10, 4.0))
    assert four == pytest.approx(once)


def test_no_clusters_say_nothing() -> None:
    figure = clustered_share(np.zeros(3), np.zeros(3))
    assert math.isnan(figure.value)
    assert figure[1:] == (0.0, 1.0, 0)


def test_a_mean_of_single_values_has_students_interval() -> None:
    # 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.303: half width 2.484.
    figure = clustered_mean(np.array([1.0, 2.0, 3.0]), np.ones(3))
    assert figure == (2.0, pytest.approx(-0.484, abs=1e-3), pytest.approx(4.484, abs=1e-3), 3)


def test_cluster_sums_keep_the_order_of_appearance() -> None:
    sums, counts = cluster_sums(np.array([1.0, 2.0, 4.0]), ["b", "a", "b"])
    assert (sums.tolist(), counts.tolist()) == ([5.0, 2.0], [2.0, 1.0])


def test_discordant_pairs_in_order_are_counted() -> None:
    # Right 3 and 1 against wrong 2 and 0: 3>2, 3>0, 1>0 hold and 1>2 does not.
    assert discordant_wins(np.array([3.0, 1.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])) == (3.0, 4.0)
    assert discordant_wins(np.ones(2), np.array([1.0, 0.0])) == (0.5, 1.0)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=5), st.integers(1, 4))
def test_best_of_n_is_the_mean_over_all_subsets(proxy: list[int], n: int) -> None:
    values, target = np.array(proxy, float), np.arange(len(proxy), dtype=float)
    chosen = []
    for subset in itertools.combinations(range(len(proxy)), n):
        best = [i for i in subset if proxy[i] == max(proxy[j] for j in subset)]
        chosen.append(np.mean(target[best]))
    assert best_of_n(values, target, n) == pytest.approx(float(np.mean(chosen)))


def test_best_of_n_costs_its_bound_in_kl() -> None:
    # log 4 - 3/4 = 1.386 - 0.75
    assert [best_of_n_kl(1), best_of_n_kl(4)] == pytest.approx([0.0, 0.636], abs=1e-3)


def test_sizes_are_powers_of_two_and_the_last() -> None:
    assert (sizes_up_to(8), sizes_up_to(6)) == ([1, 2, 4, 8], [1, 2, 4, 6])
