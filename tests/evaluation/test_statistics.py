"""Intervals, tests and power, by hand where a hand can do it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.statistics import (
    items_needed,
    lower_bound_share,
    mcnemar,
    minimum_detectable_effect,
    power_to_detect,
    upper_bound,
    wilson,
)


def paired(wins: int, losses: int, ties: int = 0) -> tuple[np.ndarray, np.ndarray]:
    challenger = np.array([True] * wins + [False] * losses + [True] * ties, dtype=bool)
    return challenger, np.array([False] * wins + [True] * losses + [True] * ties, dtype=bool)


def test_wilsons_interval_by_hand() -> None:
    # n = 10, p = 0.8, z = 1.96, z^2 = 3.8415: centre (0.8 + 0.19207) / 1.38415 = 0.71674,
    # half width 1.96 sqrt(0.016 + 0.0096037) / 1.38415 = 0.22657
    assert wilson(8, 10) == pytest.approx((0.8, 0.49016, 0.94331, 10), abs=1e-4)


def test_the_share_of_nothing_is_unknown() -> None:
    figure = wilson(0, 0)
    assert math.isnan(figure.value)
    assert (figure.low, figure.high, figure.n) == (0, 1, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.data())
def test_an_interval_holds_its_value_and_stays_within_zero_and_one(n: int, data: st.DataObject) -> None:
    figure = wilson(data.draw(st.integers(0, n)), n)
    assert 0 <= figure.low <= figure.value + 1e-12
    assert figure.value - 1e-12 <= figure.high <= 1


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
    result = mcnemar(*paired(wins, losses, ties=4))
    assert (result.wins, result.losses) == (wins, losses)
    assert result.p_value == pytest.approx(p_value)


def test_no_items_at_all_say_nothing() -> None:
    assert mcnemar(*paired(0, 0)).p_value == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_items_on_which_both_agree_change_nothing(wins: int, losses: int, ties: int) -> None:
    assert mcnemar(*paired(wins, losses, ties)) == mcnemar(*paired(wins, losses))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30))
def test_swapping_the_arms_swaps_wins_and_losses(wins: int, losses: int) -> None:
    one = mcnemar(*paired(wins, losses))
    other = mcnemar(*reversed(paired(wins, losses)))
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.p_value + other.p_value >= 1  # the observed count is in both tails


def test_the_order_of_items_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(17)
    challenger, incumbent = paired(9, 3, 5)
    assert mcnemar(challenger[order], incumbent[order]) == mcnemar(challenger, incumbent)


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


@pytest.mark.parametrize(
    ("alpha", "items"),
    [
        (0.05, 489),  # (1.644854 + 0.841621)^2 = 6.182557; x (0.2 - 0.05^2) / 0.05^2 = x 79 = 488.4
        (0.05 / 26, 1101),  # (2.8905 + 0.841621)^2 = 13.929, x 79 = 1100.4; the reference's simulation says 1,100
    ],
)
def test_items_needed_to_see_a_gain_of_five_points(alpha: float, items: int) -> None:
    assert items_needed(0.2, 0.05, alpha) == pytest.approx(items, abs=1)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.05, 0.9), st.floats(0.01, 0.2), st.sampled_from([0.05, 0.01, 0.05 / 26]))
def test_items_needed_and_detectable_effect_are_inverse(discordance: float, effect: float, alpha: float) -> None:
    needed = items_needed(max(discordance, effect), effect, alpha)
    assert minimum_detectable_effect(max(discordance, effect), needed, alpha) <= effect * (1 + 1e-9)
    if needed > 1:
        assert minimum_detectable_effect(max(discordance, effect), needed - 1, alpha) > effect * (1 - 1e-9)


def test_no_items_detect_nothing() -> None:
    assert minimum_detectable_effect(0.2, 0, 0.05) == math.inf


@pytest.mark.parametrize(("items", "effect"), [(500, 0.05), (1000, 0.05), (500, 0.08)])
def test_the_power_formula_agrees_with_simulation(items: int, effect: float) -> None:
    rng = np.random.default_rng(0)
    alpha = 0.05
    counts = rng.multinomial(items, [0.1 + effect / 2, 0.1 - effect / 2, 0.8], size=1000)
    rejected = np.mean([mcnemar(*paired(w, n)).p_value <= alpha for w, n, _ in counts.tolist()])
    spread = math.sqrt((0.2 - effect**2) / items)
    formula = 0.5 * math.erfc((1.644854 - effect / spread) / math.sqrt(2))
    # An exact test spends less than its alpha: with some 100 discordant items the next count down would be 0.05 + 0.03.
    assert formula - 0.08 <= rejected <= formula + 0.05


def test_power_is_that_of_the_reference() -> None:
    # 1,000 items, a gain of 0.05, 20% discordance: 0.97 at alpha 0.05, 0.65 at 0.05 / 52 (simulated there, the exact test)
    assert power_to_detect(0.05, 0.2, 1000, 0.05) == pytest.approx(0.97, abs=0.01)
    assert power_to_detect(0.05, 0.2, 1000, 0.05 / 52) == pytest.approx(0.65, abs=0.05)


def test_at_the_smallest_visible_effect_the_power_is_the_wanted_one() -> None:
    effect = minimum_detectable_effect(0.2, 700, 0.01, power=0.8)
    assert power_to_detect(effect, 0.2, 700, 0.01) == pytest.approx(0.8)


def test_without_any_effect_the_power_is_the_level() -> None:
    assert power_to_detect(0.0, 0.2, 500, 0.03) == pytest.approx(0.03)
