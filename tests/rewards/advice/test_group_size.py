"""The formulas of the group size: by hand, against simulation, and the rule of thumb that must come out of them."""

import math

import numpy as np
import pytest

from ratchet.components.rewards.advice.group_size import (
    advantage_fidelity,
    expected_zero_variance_share,
    fit_beta,
    fixed_budget_size,
    power_of_two_at_least,
    recommended_size,
    size_against_zero_variance,
    size_for_signal,
    spread_error,
)


@pytest.mark.parametrize(("wanted", "k"), [(3.0, 4.0), (4.0, 5.0), (7.0, 8.0)])
def test_without_noise_a_signal_of_three_to_seven_is_the_rule_of_thumb(wanted: float, k: float) -> None:
    assert size_for_signal(1.0, wanted) == k


def test_the_rule_of_thumb_grows_with_noise() -> None:
    # Verdicts turned round with chance 0, 0.1, 0.2 at pass rate 1/2: rho = (1 - 2 noise)^2 = 1, 0.64, 0.36.
    shares = [1.0, 0.64, 0.36]
    silence = size_against_zero_variance(1.0, 1.0)  # uniform pass rates
    assert [recommended_size(rho, silence) for rho in shares] == [8, 8, 16]
    assert recommended_size(1.0, 0.0, 3.0) == 4


def test_no_size_mends_a_reward_without_signal() -> None:
    assert recommended_size(0.0, 4) == math.inf
    assert power_of_two_at_least(math.inf) == math.inf


@pytest.mark.parametrize(("k", "expected"), [(4, 0.375), (8, 0.4375), (16, 0.46875)])
def test_one_advantage_is_never_better_than_its_reward(k: int, expected: float) -> None:
    assert advantage_fidelity(0.5, k) == expected < 0.5


def test_the_fidelity_is_that_of_a_simulation() -> None:
    random = np.random.default_rng(0)
    signal = random.normal(size=(20_000, 4))
    noisy = signal + random.normal(size=signal.shape)
    true, seen = signal, noisy - noisy.mean(1, keepdims=True)
    correlation = np.corrcoef(true[:, 0], seen[:, 0])[0, 1]
    assert correlation**2 == pytest.approx(advantage_fidelity(0.5, 4), abs=0.01)


def test_zero_variance_shares_by_hand() -> None:
    # Uniform pass rates give 2 / (k + 1).
    assert [expected_zero_variance_share(1.0, 1.0, k) for k in (4, 8, 16)] == pytest.approx([0.4, 2 / 9, 2 / 17])
    assert expected_zero_variance_share(0.5, 0.5, 4) == pytest.approx(0.547, abs=1e-3)


def test_the_smallest_size_against_zero_variance() -> None:
    # 2 / (k + 1) <= 0.3 from k = 6 on.
    assert size_against_zero_variance(1.0, 1.0) == 6
    assert size_against_zero_variance(0.001, 0.001, largest=64) == math.inf


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 0.5), (4.0, 2.0)])
def test_pass_rates_are_fitted_from_counts(a: float, b: float) -> None:
    random = np.random.default_rng(0)
    counts = random.binomial(8, random.beta(a, b, 20_000))
    assert fit_beta(counts.tolist(), 8) == pytest.approx((a, b), rel=0.08)


@pytest.mark.parametrize("counts", [[0] * 9, [8] * 9, [4] * 9, [], [0, 8]])
def test_extreme_counts_still_fit(counts: list[int]) -> None:
    a, b = fit_beta(counts, 8)
    assert a > 0 < b
    assert 0 <= expected_zero_variance_share(a, b, 8) <= 1


def test_a_groups_spread_is_known_to_a_quarter_at_eight() -> None:
    assert [spread_error(k) for k in (4, 8, 16)] == pytest.approx([0.41, 0.27, 0.18], abs=0.005)


def test_at_a_fixed_budget_noise_asks_for_more_and_differing_prompts_for_less() -> None:
    assert fixed_budget_size(9.0, 1.0) == 4.0
    assert fixed_budget_size(9.0, 9.0) < 4.0 < fixed_budget_size(16.0, 1.0)
    assert fixed_budget_size(1.0, 0.0) == math.inf
