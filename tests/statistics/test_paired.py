"""Paired tests: exact where a hand can do it, and with the right size where it cannot."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ratchet.components.statistics.paired import (
    approximate_randomization,
    clustered_t,
    clustered_t_of,
    exact_mcnemar,
    resamples_for,
    sign_flip,
)
from tests.statistics.test_intervals import of_groups


def paired(wins: int, losses: int, ties: int = 0) -> tuple[np.ndarray, np.ndarray]:
    challenger = np.array([True] * wins + [False] * losses + [True] * ties, dtype=bool)
    return challenger, np.array([False] * wins + [True] * losses + [True] * ties, dtype=bool)


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [
        (5, 1, 7 / 64),  # (C(6, 5) + C(6, 6)) / 2^6
        (1, 5, 63 / 64),  # all but no win at all
        (3, 0, 1 / 8),
        (0, 3, 1.0),
        (0, 0, 1.0),  # no discordant item says nothing
    ],
)
def test_the_exact_mcnemar_test_by_hand(wins: int, losses: int, p_value: float) -> None:
    result = exact_mcnemar(*paired(wins, losses, ties=4))
    assert (result.wins, result.losses) == (wins, losses)
    assert result.p_value == pytest.approx(p_value)


def test_no_items_at_all_say_nothing() -> None:
    assert exact_mcnemar(*paired(0, 0)).p_value == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_items_on_which_both_agree_change_nothing(wins: int, losses: int, ties: int) -> None:
    assert exact_mcnemar(*paired(wins, losses, ties)) == exact_mcnemar(*paired(wins, losses))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30))
def test_swapping_the_arms_swaps_wins_and_losses(wins: int, losses: int) -> None:
    one = exact_mcnemar(*paired(wins, losses))
    other = exact_mcnemar(*reversed(paired(wins, losses)))
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.p_value + other.p_value >= 1  # the observed count is in both tails


def test_the_order_of_items_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(17)
    challenger, incumbent = paired(9, 3, 5)
    assert exact_mcnemar(challenger[order], incumbent[order]) == exact_mcnemar(challenger, incumbent)


def flip(differences: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0, resamples: int = 1999) -> float:
    return sign_flip(differences, clusters, np.random.default_rng(seed), resamples)


def test_sign_flips_approach_the_exact_share() -> None:
    # signs of (1, 2, 3): sums of 6, 4, 2, 0, 0, -2, -4, -6; observed 1 + 2 - 0 + 3 = 6: one of eight
    assert flip(np.array([1.0, 2.0, 3.0]), resamples=20_000) == pytest.approx(1 / 8, abs=0.01)
    # observed 1 - 2 + 3 = 2: three of eight reach it
    assert flip(np.array([1.0, -2.0, 3.0]), resamples=20_000) == pytest.approx(3 / 8, abs=0.015)


def test_sign_flips_of_right_and_wrong_approach_mcnemar() -> None:
    challenger, incumbent = paired(9, 3, 5)
    exact = exact_mcnemar(challenger, incumbent).p_value
    assert flip(challenger.astype(float) - incumbent, resamples=20_000) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("differences", [[], [0.0], [0.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_nothing_ties_and_figures_that_are_not_finite_say_nothing(differences: list[float]) -> None:
    assert flip(np.array(differences)) == 1
    assert clustered_t(np.array(differences), None) == 1


def test_one_item_shows_nothing() -> None:
    assert flip(np.array([1.0])) == pytest.approx(0.5, abs=0.05)
    assert clustered_t(np.array([1.0]), None) == 1


def test_the_seed_fixes_p_and_nothing_else_does() -> None:
    rng = np.random.default_rng(1)
    values, clusters = rng.normal(0.1, 1, 60), np.repeat(np.arange(15), 4)
    order, names = rng.permutation(60), rng.permutation(15)
    p_value = flip(values, clusters)
    assert flip(values, clusters) == p_value
    assert flip(values[order], clusters[order]) == p_value
    assert flip(values, names[clusters]) == p_value
    assert clustered_t(values[order], names[clusters][order]) == pytest.approx(clustered_t(values, clusters))
    assert flip(values, clusters, seed=1) != p_value


def test_swapping_the_arms_swaps_the_tails() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, 40)
    assert flip(values) + flip(-values) == pytest.approx(1, abs=0.03)
    assert clustered_t(values, None) + clustered_t(-values, None) == pytest.approx(1)


def test_the_clustered_t_by_hand() -> None:
    # mean 2, error 1.5 (tests/statistics/test_intervals.py), one degree of freedom: 1/2 - atan(4/3) / pi
    values, clusters = np.array([0.0, 1.0, 3.0, 4.0]), np.array([5, 5, 9, 9])
    assert clustered_t(values, clusters) == pytest.approx(0.5 - math.atan(4 / 3) / math.pi)


def test_many_tests_at_once_are_the_single_ones() -> None:
    rng = np.random.default_rng(0)
    sums, sizes = rng.normal(size=(6, 3)), rng.integers(1, 9, (6, 3)).astype(float)
    sums[:, 2] = sizes[:, 2]
    found = clustered_t_of(sums, sizes)
    assert found[:2] == pytest.approx([float(clustered_t_of(sums[:, n], sizes[:, n])) for n in (0, 1)])
    assert found[2] == 0.5**6


@pytest.mark.parametrize("sizes", [[12] * 5, [40, 5, 5, 5, 5], [50, 4, 3, 2, 1], [20] + [2] * 20])
@pytest.mark.parametrize("test", [lambda d, c: flip(d, c, resamples=499), clustered_t])
def test_the_level_holds_however_few_and_unequal_the_groups(test: object, sizes: list[int]) -> None:
    rng, clusters, runs = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 500
    rejected = np.mean([test(of_groups(rng, sizes), clusters) <= 0.05 for _ in range(runs)])  # type: ignore[operator]
    assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_clusters_that_all_say_the_same_are_as_many_coins() -> None:
    assert clustered_t(np.full(5, 0.1), None) == 0.5**5
    assert clustered_t(np.full(5, -0.1), None) == 1


@pytest.mark.parametrize("test", [flip, clustered_t])
def test_p_is_uniform_where_nothing_differs(test: object) -> None:
    rng = np.random.default_rng(3)
    p_values = [test(rng.normal(size=40), None) for _ in range(400)]  # type: ignore[operator]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def clustered_null(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """100 prompts of 8 samples that truly differ by nothing, correlation within a prompt 0.2."""
    prompts = np.repeat(rng.normal(0, 0.25, 100), 8)
    return prompts + rng.normal(0, 0.5, 800), np.repeat(np.arange(100), 8)


@pytest.mark.parametrize("test", [lambda d, c: flip(d, c, resamples=499), clustered_t])
def test_samples_of_one_prompt_count_once(test: object) -> None:
    rng = np.random.default_rng(4)
    streams = [clustered_null(rng) for _ in range(400)]
    by_prompt = np.mean([test(*stream) <= 0.05 for stream in streams])  # type: ignore[operator]
    by_sample = np.mean([clustered_t(differences, None) <= 0.05 for differences, _ in streams])
    assert by_prompt <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)  # 0.083
    assert by_sample > 0.1  # the reference's simulation: 0.152


@pytest.mark.parametrize(("alpha", "resamples"), [(0.05, 19_999), (0.001, 20_000), (0.0001, 200_000)])
def test_permutations_resolve_the_level(alpha: float, resamples: int) -> None:
    assert resamples_for(alpha) == pytest.approx(resamples, abs=1)


def test_a_test_that_may_stop_gives_the_same_p_where_p_is_small() -> None:
    values = np.random.default_rng(5).normal(0.7, 1, 40)
    whole = sign_flip(values, None, np.random.default_rng(0), 19_999)
    assert whole < 0.02
    assert sign_flip(values, None, np.random.default_rng(0), 19_999, enough=400) == whole


def test_a_test_that_may_stop_draws_little_where_p_is_large_and_p_stays_uniform() -> None:
    rng, p_values = np.random.default_rng(6), []
    for _ in range(400):
        draws = np.random.default_rng(rng.integers(2**32))
        p_values.append(sign_flip(rng.normal(size=40), None, draws, 19_999, enough=50))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    counting = Counting()
    assert sign_flip(np.array([-1.0, -2.0, -3.0]), None, counting, 10**6, enough=50) == 1  # type: ignore[arg-type]
    assert counting.drawn <= 256


class Counting:
    """A generator that counts the vectors drawn from it."""

    def __init__(self) -> None:
        self.rng, self.drawn = np.random.default_rng(0), 0

    def random(self, shape: tuple[int, int], dtype: type) -> np.ndarray:
        self.drawn += shape[0]
        return self.rng.random(shape, dtype)


def swap(
    ours: np.ndarray, theirs: np.ndarray, measure: object, clusters: np.ndarray | None = None, seed: int = 0, n: int = 1999
) -> float:
    return approximate_randomization(ours, theirs, measure, clusters, np.random.default_rng(seed), n)  # type: ignore[arg-type]


def test_randomization_of_a_total_is_the_sign_flip() -> None:
    ours, theirs = np.array([[3.0], [2.0], [4.0]]), np.array([[2.0], [0.0], [1.0]])
    # differences 1, 2, 3: one of eight swaps reaches the observed 6
    assert swap(ours, theirs, lambda total: total[..., 0], n=20_000) == pytest.approx(1 / 8, abs=0.01)


def ratio(totals: np.ndarray) -> np.ndarray:
    """A measure that is not a mean over items: hits over attempts."""
    return totals[..., 0] / totals[..., 1]


def test_randomization_of_a_ratio_by_hand() -> None:
    # (hits, attempts) of items: ours (1, 1), (1, 2) -> 2/3; theirs (0, 1), (1, 3) -> 1/4. Swapping nothing or both gives 5/12
    # and -5/12; the first alone (0, 1), (1, 2) against (1, 1), (1, 3): 1/3 - 1/2; the second: (2, 4) against (1, 3): 1/2 - 1/3.
    ours, theirs = np.array([[1.0, 1], [1, 2]]), np.array([[0.0, 1], [1, 3]])
    assert swap(ours, theirs, ratio, n=20_000) == pytest.approx(1 / 4, abs=0.01)


def test_randomization_depends_on_no_order_and_counts_a_cluster_once() -> None:
    rng = np.random.default_rng(7)
    ours, theirs = rng.integers(1, 9, (40, 2)).astype(float), rng.integers(1, 9, (40, 2)).astype(float)
    clusters, order = np.repeat(np.arange(10), 4), rng.permutation(40)
    p_value = swap(ours, theirs, ratio, clusters)
    assert swap(ours[order], theirs[order], ratio, clusters[order]) == p_value
    grouped = [arm.reshape(10, 4, 2).sum(axis=1) for arm in (ours, theirs)]
    assert swap(*grouped, ratio) == p_value


@pytest.mark.parametrize("rows", [np.zeros((0, 2)), np.ones((3, 2)), np.full((3, 2), math.nan), np.zeros((3, 2))])
def test_randomization_of_nothing_ties_and_what_is_not_finite_says_nothing(rows: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        assert swap(rows, rows.copy(), ratio) == 1
