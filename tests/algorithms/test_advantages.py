"""Advantages against hand-computed numbers and properties."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from components.algorithms.advantages import (
    explained_variance,
    generalised_advantages,
    group_advantages,
    has_signal,
    whiten,
)

NAN = math.nan
small = st.lists(st.integers(-8, 8), min_size=2, max_size=8)


def full(*rows: list[float]) -> torch.Tensor:
    return torch.ones(len(rows), len(rows[0]), dtype=torch.bool)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # mean 1/2, variance 4 (1/2)^2 / 3 = 1/3: 0.5 / (0.577350 + 1e-6) = 0.866024
        ([1.0, 0.0, 0.0, 1.0], [0.866024, -0.866024, -0.866024, 0.866024]),
        # mean 1/4, variance (9/16 + 3/16) / 3 = 1/4: 0.75 / 0.500001 = 1.499997
        ([1.0, 0.0, 0.0, 0.0], [1.499997, -0.499999, -0.499999, -0.499999]),
        # mean 0.30625, deviation 0.35 / sqrt(8) = 0.123744: 0.04375 / 0.123745 = 0.353551
        ([0.35] * 7 + [0.0], [0.353551] * 7 + [-2.474854]),
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_group_is_centred_and_divided_by_its_sample_deviation(rewards: list[float], expected: list[float]) -> None:
    assert_close(group_advantages(torch.tensor([rewards])), torch.tensor([expected]))


def test_equal_rewards_give_exactly_zero() -> None:
    # The sum of eight 0.35 in fp32 is not 8 x 0.35, so a computed deviation would not be zero.
    assert torch.equal(group_advantages(torch.full((1, 8), 0.35)), torch.zeros(1, 8))


def test_a_group_keeps_the_proportions_of_its_centred_rewards() -> None:
    # (85 + 92 + 70) / 3 = 82.33: centred +2.67, +9.67, -12.33, so the ratios to the first are 29/8 and -37/8.
    advantages = group_advantages(torch.tensor([[85.0, 92.0, 70.0]]))[0]
    assert_close(advantages / advantages[0], torch.tensor([1.0, 3.625, -4.625]))


@settings(deadline=None, max_examples=60)
@given(small, st.integers(-100, 100))
def test_adding_a_constant_to_a_group_changes_nothing(rewards: list[int], shift: int) -> None:
    group = torch.tensor([rewards], dtype=torch.float32)
    assert_close(group_advantages(group + shift), group_advantages(group), rtol=0, atol=1e-4)  # fp32 at 100 has steps of 8e-6


@settings(deadline=None, max_examples=60)
@given(small)
def test_the_advantages_of_a_group_sum_to_zero(rewards: list[int]) -> None:
    assert float(group_advantages(torch.tensor([rewards], dtype=torch.float32)).sum()) == pytest.approx(0, abs=1e-5)


def test_groups_do_not_see_each_other() -> None:
    both = group_advantages(torch.tensor([[1.0, 0.0], [50.0, 100.0]]))
    assert torch.equal(both[0], group_advantages(torch.tensor([[1.0, 0.0]]))[0])


def test_a_missing_reward_is_left_out_of_its_group() -> None:
    advantages = group_advantages(torch.tensor([[1.0, NAN, 0.0, 0.0, 1.0]]))[0]
    assert_close(advantages, torch.tensor([0.866024, 0.0, -0.866024, -0.866024, 0.866024]))


@pytest.mark.parametrize("rewards", [[NAN, NAN], [NAN, 3.0], [3.0]])
def test_a_group_with_fewer_than_two_rewards_has_no_advantage(rewards: list[float]) -> None:
    assert torch.equal(group_advantages(torch.tensor([rewards])), torch.zeros(1, len(rewards)))


def test_signal_is_a_difference_between_present_rewards() -> None:
    groups = torch.tensor([[0.1, 0.1], [0.1, 0.2], [NAN, 0.2], [NAN, NAN]])
    assert has_signal(groups).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        (1.0, 1.0, [6.0, 5.0, 3.0]),  # sums of the rewards to come
        (0.5, 1.0, [2.75, 3.5, 3.0]),  # 2 + 3/2 = 3.5, 1 + 3.5/2 = 2.75
        # deltas 1.5, 2.5, 1.5: A = [1.5 + 3.25/2, 2.5 + 1.5/2, 1.5] = [3.125, 3.25, 1.5]; plus V
        (1.0, 0.5, [3.625, 4.25, 3.0]),
    ],
)
def test_returns_of_a_three_token_completion(gamma: float, lam: float, expected: list[float]) -> None:
    rewards, values = [1.0, 2.0, 3.0], [0.5, 1.0, 1.5]
    targets = generalised_advantages(torch.tensor([rewards]), torch.tensor([values]), full(rewards), gamma, lam)
    assert_close(targets.returns, torch.tensor([expected]))
    assert_close(targets.advantages, torch.tensor([expected]) - torch.tensor([values]))


def test_values_and_advantages_are_carried_over_masked_tokens() -> None:
    mask = torch.tensor([[True, False, True]])
    targets = generalised_advantages(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0, 1.5]]), mask, 1.0, 1.0)
    # last: 3 - 1.5 = 1.5, return 3; first: (1 + 1.5 - 0.5) + 1.5 = 3.5, return 4
    assert_close(targets.returns, torch.tensor([[4.0, 0.0, 3.0]]))


def test_what_stands_at_masked_tokens_does_not_matter() -> None:
    mask = torch.tensor([[True, False, True, False]])
    clean = generalised_advantages(torch.ones(1, 4), torch.ones(1, 4), mask, 0.9, 0.9)
    dirty = torch.tensor([[1.0, NAN, 1.0, 1e9]])
    assert torch.equal(generalised_advantages(dirty, dirty, mask, 0.9, 0.9).advantages, clean.advantages)


@pytest.mark.parametrize(("value", "reward", "expected"), [(0.6, 0.5, -0.1), (0.65, 0.8, 0.15)])
def test_the_advantage_of_a_single_token_is_reward_minus_value(value: float, reward: float, expected: float) -> None:
    targets = generalised_advantages(torch.tensor([[reward]]), torch.tensor([[value]]), full([0.0]), 1.0, 0.95)
    assert float(targets.advantages) == pytest.approx(expected)


def test_whitened_values_have_mean_zero_and_variance_one_over_the_mask() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    white = whiten(torch.tensor([[1.0, 2.0, 999.0], [3.0, 4.0, 10.0]]), mask)
    assert_close(white[mask].mean(), torch.tensor(0.0))
    assert_close(white[mask].var(), torch.tensor(1.0))
    assert white[0, 2] == 0


def test_whitening_three_numbers_by_hand() -> None:
    # mean 2, variance 1: nothing but the centring is left
    assert_close(whiten(torch.tensor([[1.0, 2.0, 3.0]]), full([0.0] * 3)), torch.tensor([[-1.0, 0.0, 1.0]]))


@pytest.mark.parametrize("present", [0, 1])
def test_fewer_than_two_values_whiten_to_zero(present: int) -> None:
    mask = torch.arange(3)[None] < present
    assert torch.equal(whiten(torch.tensor([[5.0, 6.0, 7.0]]), mask), torch.zeros(1, 3))


@settings(deadline=None, max_examples=60)
@example([(1e-30, 0.0), (0.0, 0.0)])  # a variance that underflows to zero
@given(st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), min_size=1, max_size=9))
def test_explained_variance_is_at_most_one(pairs: list[tuple[float, float]]) -> None:
    returns, values = torch.tensor(pairs).T
    assert explained_variance(returns, values) <= 1


def test_explained_variance_of_good_and_useless_values() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(returns, torch.ones(3)) == pytest.approx(0)
    assert explained_variance(returns, 2 * returns) == pytest.approx(0)  # var(-r) / var(r) = 1
    assert explained_variance(torch.ones(3), returns) == 0
