"""Gaffke's test and bound against what they must equal where that is known."""

import math

import numpy as np
import pytest
from scipy import stats

from ratchet.components.statistics.bounded import bounded_above, gaffke, tail
from ratchet.components.statistics.paired import sign_flip

LEVEL = 0.05 / 26


@pytest.mark.parametrize(
    ("wins", "losses"),
    [(1, 0), (7, 3), (33, 7), (140, 110), (0, 10), (800, 1_200), (1_050, 950), (40_000, 60_000), (50_500, 49_500)],
)
def test_of_wins_and_losses_it_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    differences = np.repeat([1.0, -1.0], [wins, losses])
    expected = stats.binom.sf(wins - 1, wins + losses, 0.5)
    assert gaffke(differences, None, -1.0) == pytest.approx(expected, rel=1e-9)


def test_of_equal_gains_only_the_item_that_was_not_seen_can_outweigh_them() -> None:
    # The weighted mean g (1 - w) - w is not above 0 where w >= g / (1 + g); w is Beta(1, n): (1 - g / (1 + g))^n.
    assert gaffke(np.full(150, 0.02), None, -1.0) == pytest.approx(1.02**-150, rel=1e-3)


def test_it_is_the_share_of_random_weights_whose_mean_is_not_above_zero() -> None:
    rng = np.random.default_rng(0)
    values = np.clip(rng.normal(0.1, 0.4, 30), -1, 1)
    weights = rng.exponential(size=(200_000, 31))
    simulated = float((weights @ np.append(values, -1.0) <= 0).mean())
    assert gaffke(values, None, -1.0) == pytest.approx(simulated, abs=4 * math.sqrt(simulated / 200_000))


@pytest.mark.parametrize(
    "counts",
    [
        {-0.5: 2_000},  # means far below 0
        {-0.001: 100_000},
        {0.3: 900, -0.4: 1_100},
        {0.3: 45_000, -0.4: 55_000},
        {1.0: 1, -0.01: 99_999},
        {0.02: 98_000, -1.0: 2_000},  # about one standard error below 0
        {0.0: 1_000, -0.1: 500, 0.09: 500},
        {0.0: 50_000, 0.02: 49_000, -1.0: 975},  # above 0
    ],
)
def test_of_many_items_it_is_what_random_weights_say_on_either_side_of_0(counts: dict[float, int]) -> None:
    # The exponential weights of k equal values add up to a gamma variable of shape k, so that many items cost nothing to draw.
    rng = np.random.default_rng(0)
    weighted = sum(value * rng.gamma(count, size=200_000) for value, count in counts.items()) - rng.exponential(size=200_000)
    simulated = float((weighted <= 0).mean())
    error = math.sqrt(simulated * (1 - simulated) / 200_000) + 1 / 200_000
    assert gaffke(np.repeat(list(counts), list(counts.values())), None, -1.0) == pytest.approx(simulated, abs=4 * error)


@pytest.mark.parametrize("value", [0.0, -0.05, -1.0])
def test_where_nothing_is_above_zero_p_is_one(value: float) -> None:
    assert gaffke(np.full(2_000, value), None, -1.0) == 1.0


def test_few_points_are_enough_for_a_percent() -> None:
    values = np.clip(np.random.default_rng(0).normal(0.06, 0.35, (200, 50)), -1, 1)
    assert tail(values, -1.0, 32) == pytest.approx(tail(values, -1.0), rel=0.01)


def test_its_level_holds_where_a_few_broken_items_outweigh_a_small_gain_on_the_others() -> None:
    # No gain in the mean. In 5 of 100 samples no broken item is among the 150, and the sign-flip test sees gains alone.
    rng, gain, runs = np.random.default_rng(0), 0.8 * 0.02 / 0.98, 400
    rejected = dict.fromkeys(("gaffke", "sign_flip"), 0)
    for _ in range(runs):
        differences = np.where(rng.random(150) < 0.02, -0.8, gain + rng.normal(0, 0.01, 150))
        rejected["gaffke"] += gaffke(differences, None, -1.0) <= LEVEL
        rejected["sign_flip"] += sign_flip(differences, None, rng, 2_000, 40) <= LEVEL
    assert rejected["gaffke"] <= 4  # 0.8 are expected at the level
    assert rejected["sign_flip"] > 12


def test_samples_of_one_item_count_once() -> None:
    once, copies = np.tile([0.5, -0.25, 0.5], 20), np.tile([0.5, -0.25, 0.5], 20).repeat(4)
    assert gaffke(copies, np.arange(60).repeat(4), -1.0) == pytest.approx(gaffke(once, None, -1.0), rel=1e-9)


def test_the_order_of_items_does_not_matter() -> None:
    differences = np.random.default_rng(0).uniform(-1, 1, 40)
    assert gaffke(differences[::-1], None, -1.0) == gaffke(differences, None, -1.0)


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_without_data_or_with_values_that_are_not_finite_nothing_is_shown(values: list[float]) -> None:
    assert gaffke(np.array(values), None, -1.0) == 1.0
    assert bounded_above(np.array(values), 0.05, None, 1.0) == math.inf


@pytest.mark.parametrize("wrong", [0, 3, 40])
def test_the_bound_of_a_share_is_clopper_and_pearsons(wrong: int) -> None:
    values = np.repeat([1.0, 0.0], [wrong, 40 - wrong])
    expected = stats.beta.ppf(0.95, wrong + 1, 40 - wrong) if wrong < 40 else 1.0
    assert bounded_above(values, 0.05, None, 1.0) == pytest.approx(expected, abs=1e-6)


def test_the_bound_covers_a_mean_of_skewed_values() -> None:
    rng = np.random.default_rng(0)  # 0.8 on 2% of the items: the mean is 0.016
    covered = [bounded_above(0.8 * (rng.random(100) < 0.02), 0.05, None, 1.0) >= 0.016 for _ in range(300)]
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 300)
