"""Orders and best-of-n of one prompt's samples, by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.rewards.checks.check import wins
from ratchet.components.rewards.checks.on_samples import Group, best_of_n, best_of_n_kl, discordant_wins, sizes_up_to


def test_a_tie_counts_half_and_a_missing_score_counts_as_lost() -> None:
    assert wins(np.array([2.0, 0.0, 1.0, math.nan]), np.array([1.0, 1.0, 1.0, 0.0])).tolist() == [1.0, 0.0, 0.5, 0.0]


def test_discordant_pairs_in_order_are_counted() -> None:
    # Right 3 and 1 against wrong 2 and 0: 3>2, 3>0, 1>0 hold and 1>2 does not.
    assert discordant_wins(np.array([3.0, 1.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])) == (3.0, 4.0)
    assert discordant_wins(np.ones(2), np.array([1.0, 0.0])) == (0.5, 1.0)


def test_of_a_bounded_gold_the_better_of_two_samples_should_be_paid_more() -> None:
    # Pairs by gold: 1 over 0.5, 1 over 0.2, 0.5 over 0.2; the reward orders the first and the second.
    assert discordant_wins(np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.2])) == (2.0, 3.0)


def test_faults_samples_that_the_gold_could_not_judge_are_left_out() -> None:
    group = Group({"prompt": "p"}, ["a", "b"], np.array([[1.0, 2.0]]), np.array([np.nan, 1.0]))
    assert (group.judged.completions, group.judged.gold.tolist()) == (["b"], [1.0])


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
