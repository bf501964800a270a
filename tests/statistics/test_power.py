"""Power and the items that it needs, beside simulation and the reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.components.statistics.bounded import gaffke
from ratchet.components.statistics.intervals import cluster_sums
from ratchet.components.statistics.paired import clustered_t, clustered_t_of, exact_mcnemar, sign_flip
from ratchet.components.statistics.power import (
    ClusteredTPower,
    GaffkePower,
    SignFlipPower,
    detectable_mean,
    items_for_mean,
    items_needed,
    minimum_detectable_effect,
    power_of_mean,
    power_to_detect,
)
from tests.statistics.test_paired import paired


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
    rejected = np.mean([exact_mcnemar(*paired(w, n)).p_value <= alpha for w, n, _ in counts.tolist()])
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


def test_right_and_wrong_are_a_case_of_the_general_formula() -> None:
    deviation = math.sqrt(0.2 - 0.05**2)
    assert items_for_mean(deviation, 0.05, 0.01) == items_needed(0.2, 0.05, 0.01)
    assert power_of_mean(0.05, deviation, 500, 0.01) == power_to_detect(0.05, 0.2, 500, 0.01)


def test_the_visible_mean_and_the_items_it_needs_are_inverse() -> None:
    needed = items_for_mean(0.7, 0.05, 0.01)
    assert detectable_mean(0.7, needed, 0.01) <= 0.05 < detectable_mean(0.7, needed - 1, 0.01)
    assert detectable_mean(0.7, 0, 0.01) == math.inf


def test_the_power_of_a_mean_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    found = np.mean([clustered_t(rng.normal(0.1, 0.5, 100), None) <= 0.05 for _ in range(1000)])
    assert found == pytest.approx(power_of_mean(0.1, 0.5, 100, 0.05), abs=0.05)


SCORES = np.array([-1.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 0.0] * 20)


def test_simulated_power_is_the_rate_at_which_the_test_itself_rejects() -> None:
    rng = np.random.default_rng(0)
    moved = SCORES - SCORES.mean() + 0.1
    found = np.mean([sign_flip(rng.choice(moved, 120), None, rng, 999) <= 0.05 for _ in range(400)])
    assert SignFlipPower(SCORES, None, 0.05).power(0.1, 120) == pytest.approx(found, abs=0.1)


def test_simulated_power_of_the_clustered_t_is_the_rate_at_which_it_rejects() -> None:
    """Groups of which one is large: fewer degrees of freedom, and so less power than the normal approximation says."""
    rng, sizes = np.random.default_rng(0), np.array([20] + [1] * 19)
    values, names = rng.normal(size=sizes.sum()), np.repeat(np.arange(20), sizes)
    power = ClusteredTPower(values, names, 0.05)
    drawn = rng.integers(0, 20, (20, 600))
    sums, _ = cluster_sums(values - values.mean(), names)
    found = np.mean(clustered_t_of(sums[drawn] + 0.25 * sizes[drawn], sizes[drawn].astype(float)) <= 0.05)
    assert power.power(0.25, 20) == pytest.approx(found, abs=0.1)
    assert found < power_of_mean(0.25, power.deviation, 20, 0.05) - 0.1


def test_simulated_power_without_an_effect_is_the_level_and_of_no_items_zero() -> None:
    assert SignFlipPower(SCORES, None, 0.05).power(0.0, 200) == pytest.approx(0.05, abs=0.04)
    assert SignFlipPower(SCORES, None, 0.05).power(0.5, 0) == 0


def test_simulation_agrees_with_the_normal_approximation_at_some_hundred_items() -> None:
    found = SignFlipPower(SCORES, None, 0.01)
    assert found.deviation == pytest.approx(SCORES.std())
    assert found.detectable(300) == pytest.approx(detectable_mean(SCORES.std(), 300, 0.01), rel=0.1)
    needed = found.needed(0.12)
    assert needed == pytest.approx(items_for_mean(SCORES.std(), 0.12, 0.01), rel=0.12)
    assert found.needed(0.01) == items_for_mean(SCORES.std(), 0.01, 0.01)  # too many to simulate


def test_too_few_clusters_detect_nothing_however_large_the_effect() -> None:
    # eight signs cannot be rarer than 1/256
    assert SignFlipPower(SCORES, None, 0.001).detectable(8) == math.inf
    assert SignFlipPower(SCORES, None, 0.001).needed(5.0) >= 10


def test_simulated_power_of_gaffkes_test_is_the_rate_at_which_it_rejects() -> None:
    rng, moved = np.random.default_rng(0), np.clip(SCORES + 0.1, -1, 1)
    moved += 0.1 - moved.mean()
    found = np.mean([gaffke(rng.choice(moved, 120), None, -1.0) <= 0.05 for _ in range(400)])
    assert GaffkePower(moved, None, 0.05).power(0.1, 120) == pytest.approx(found, abs=0.1)


def test_gaffkes_test_allows_for_what_few_items_have_not_shown() -> None:
    # Equal gains of 0.1 on all items: 1.1^-n is below 0.01 from 49 items on, where Student's t would see no spread.
    alike = GaffkePower(np.array([0.0, 1e-9]), None, 0.01)
    assert [alike.power(0.1, n) for n in (48, 49)] == [0.0, 1.0]


def test_an_effect_below_the_threshold_is_never_detected() -> None:
    assert SignFlipPower(SCORES, None, 0.05, threshold=0.1).needed(0.1) is None


def test_values_of_one_cluster_count_once_in_simulated_power() -> None:
    whole, copies = SignFlipPower(SCORES, None, 0.05), SignFlipPower(SCORES.repeat(4), np.arange(200).repeat(4), 0.05)
    assert copies.power(0.1, 100) == whole.power(0.1, 100)
    assert copies.deviation == pytest.approx(whole.deviation)
