"""Advantages against hand-computed numbers, other libraries' numbers and properties."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.algorithms.advantages import (
    GROUP_ESTIMATORS,
    discounted_returns,
    explained_variance,
    generalised_advantages,
    group_mean_advantages,
    group_mean_batch_std_advantages,
    group_std_advantages,
    leave_one_out_advantages,
    whiten,
    zero_variance,
)

NAN = math.nan
SEVEN_OF_EIGHT = [0.35] * 7 + [0.0]

every_estimator = pytest.mark.parametrize("name", GROUP_ESTIMATORS)
quick = settings(deadline=None, max_examples=30)
steps = st.integers(-64, 64)  # of 1/64: sums of such rewards are exact in fp32


@st.composite
def batches_of_groups(draw: st.DrawFn) -> Tensor:
    """Rewards [G, k] in [-1, 1] on a grid of 1/64."""
    groups, k = draw(st.integers(1, 3)), draw(st.integers(2, 8))
    rows = st.lists(st.lists(steps, min_size=k, max_size=k), min_size=groups, max_size=groups)
    return torch.tensor(draw(rows)) / 64


def full(rewards: list[float]) -> Tensor:
    return torch.ones(1, len(rewards), dtype=torch.bool)


# Groups


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # mean 1/2, variance 4 (1/2)^2 / 3 = 1/3: 0.5 / (0.577350 + 1e-6) = 0.866024
        ([1.0, 0.0, 0.0, 1.0], [0.866024, -0.866024, -0.866024, 0.866024]),
        # mean 1/4, variance (9/16 + 3/16) / 3 = 1/4: 0.75 / 0.500001 = 1.499997
        ([1.0, 0.0, 0.0, 0.0], [1.499997, -0.499999, -0.499999, -0.499999]),
        # mean 0.30625, deviation 0.35 / sqrt(8) = 0.123744: 0.04375 / 0.123745 = 0.353551
        (SEVEN_OF_EIGHT, [0.353551] * 7 + [-2.474854]),
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_group_std_gives_the_numbers_of_verl(rewards: list[float], expected: list[float]) -> None:
    assert_close(group_std_advantages(torch.tensor([rewards])), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1.0, 0.0, 0.0, 1.0], [2 / 3, -2 / 3, -2 / 3, 2 / 3]),  # 1 - 1/3 and 0 - 2/3
        ([1.0, 0.0, 0.0, 0.0], [1.0, -1 / 3, -1 / 3, -1 / 3]),
        (SEVEN_OF_EIGHT, [0.05] * 7 + [-0.35]),  # 0.35 - 6 x 0.35 / 7 and 0 - 0.35
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_leave_one_out_gives_the_numbers_of_rloo(rewards: list[float], expected: list[float]) -> None:
    assert_close(leave_one_out_advantages(torch.tensor([rewards])), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1.0, 0.0, 0.0, 1.0], [0.5, -0.5, -0.5, 0.5]),
        ([1.0, 0.0, 0.0, 0.0], [0.75, -0.25, -0.25, -0.25]),
        (SEVEN_OF_EIGHT, [0.04375] * 7 + [-0.30625]),  # mean 7 x 0.35 / 8 = 0.30625
        ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
        ([85.0, 92.0, 70.0], [8 / 3, 29 / 3, -37 / 3]),  # mean 82.33: +2.67, +9.67, -12.33
    ],
)
def test_group_mean_gives_the_numbers_of_dr_grpo(rewards: list[float], expected: list[float]) -> None:
    assert_close(group_mean_advantages(torch.tensor([rewards])), torch.tensor([expected]))


def test_leave_one_out_gives_the_numbers_of_skyrl() -> None:
    # 6 - 3, 3 - 6; 9 - 12, 12 - 9; a group of one compares with nothing
    advantages = leave_one_out_advantages(torch.tensor([[6.0, 3.0], [9.0, 12.0], [1.0, NAN]]))
    assert torch.equal(advantages, torch.tensor([[3.0, -3.0], [-3.0, 3.0], [0.0, 0.0]]))


def test_group_mean_batch_std_divides_by_the_deviation_of_the_batch() -> None:
    # centred +-1/2, +-1: variance (1/4 + 1/4 + 1 + 1) / 3 = 5/6, so 0.5 / (0.912871 + 1e-6) = 0.547722
    advantages = group_mean_batch_std_advantages(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
    assert_close(advantages, torch.tensor([[0.547722, -0.547722], [1.095444, -1.095444]]))


def test_a_zero_variance_group_counts_in_the_deviation_of_the_batch() -> None:
    # centred +-1/2, 0, 0: variance (1/4 + 1/4) / 3 = 1/6, so 0.5 / (0.408248 + 1e-6) = 1.224742
    advantages = group_mean_batch_std_advantages(torch.tensor([[1.0, 0.0], [7.0, 7.0]]))
    assert_close(advantages, torch.tensor([[1.224742, -1.224742], [0.0, 0.0]]))


@pytest.mark.parametrize("name", ["group_std", "group_mean", "leave_one_out"])
def test_groups_do_not_see_each_other(name: str) -> None:
    both = GROUP_ESTIMATORS[name](torch.tensor([[1.0, 0.0], [50.0, 100.0]]))
    assert torch.equal(both[:1], GROUP_ESTIMATORS[name](torch.tensor([[1.0, 0.0]])))


@every_estimator
@quick
@given(rewards=batches_of_groups(), shift=st.integers(-256, 256))
def test_adding_a_constant_to_all_rewards_changes_nothing(name: str, rewards: Tensor, shift: int) -> None:
    estimate = GROUP_ESTIMATORS[name]
    # Up to 5 in size a reward's last bit is 5e-7; the smallest deviation that divides it is 1/64 / sqrt(24) = 3e-3.
    assert_close(estimate(rewards + shift / 64), estimate(rewards), rtol=0, atol=5e-4)


@every_estimator
@quick
@example(reward=0.35, k=8)  # the sum of eight 0.35 in fp32 is not 8 x 0.35
@given(reward=st.floats(-1e6, 1e6, width=32), k=st.integers(1, 9))
def test_equal_rewards_give_exactly_zero(name: str, reward: float, k: int) -> None:
    groups = torch.stack([torch.full((k,), reward), torch.arange(k).float()])
    assert torch.equal(GROUP_ESTIMATORS[name](groups)[0], torch.zeros(k))


@every_estimator
@quick
@given(rewards=batches_of_groups(), data=st.data())
def test_permuting_a_group_permutes_its_advantages(name: str, rewards: Tensor, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(rewards.shape[1])))
    assert_close(GROUP_ESTIMATORS[name](rewards[:, order]), GROUP_ESTIMATORS[name](rewards)[:, order])


@every_estimator
@quick
@given(rewards=batches_of_groups(), data=st.data())
def test_a_missing_reward_is_as_if_it_were_not_there(name: str, rewards: Tensor, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, rewards.shape[1]))
    missing = torch.full((len(rewards), 1), NAN)
    advantages = GROUP_ESTIMATORS[name](torch.cat([rewards[:, :place], missing, rewards[:, place:]], 1))
    assert torch.equal(advantages[:, place], torch.zeros(len(rewards)))
    assert_close(torch.cat([advantages[:, :place], advantages[:, place + 1 :]], 1), GROUP_ESTIMATORS[name](rewards))


@every_estimator
@quick
@given(rewards=batches_of_groups())
def test_the_advantages_of_a_group_sum_to_zero(name: str, rewards: Tensor) -> None:
    assert_close(GROUP_ESTIMATORS[name](rewards).sum(1), torch.zeros(len(rewards)), rtol=0, atol=1e-4)


@every_estimator
@pytest.mark.parametrize("rewards", [[NAN, NAN], [NAN, 3.0], [3.0]])
def test_a_group_with_fewer_than_two_rewards_has_no_advantage(name: str, rewards: list[float]) -> None:
    assert torch.equal(GROUP_ESTIMATORS[name](torch.tensor([rewards])), torch.zeros(1, len(rewards)))


def test_a_zero_variance_group_has_no_difference_between_present_rewards() -> None:
    groups = torch.tensor([[0.1, 0.1], [0.1, 0.2], [NAN, 0.2], [NAN, NAN]])
    assert zero_variance(groups).tolist() == [True, False, True, True]


# Tokens


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        (1.0, 1.0, [6.0, 5.0, 3.0]),  # sums of the rewards to come
        (0.5, 1.0, [2.75, 3.5, 3.0]),  # 2 + 3/2 = 3.5, 1 + 3.5/2 = 2.75
        # deltas 1.5, 2.5, 1.5: A = [1.5 + 3.25/2, 2.5 + 1.5/2, 1.5] = [3.125, 3.25, 1.5]; plus V
        (1.0, 0.5, [3.625, 4.25, 3.0]),
    ],
)
def test_gae_gives_the_numbers_of_skyrl(gamma: float, lam: float, expected: list[float]) -> None:
    rewards, values = [1.0, 2.0, 3.0], [0.5, 1.0, 1.5]
    targets = generalised_advantages(torch.tensor([rewards]), torch.tensor([values]), full(rewards), gamma, lam)
    assert_close(targets.returns, torch.tensor([expected]))
    assert_close(targets.advantages, torch.tensor([expected]) - torch.tensor([values]))


def test_values_and_advantages_are_carried_over_masked_tokens() -> None:
    mask = torch.tensor([[True, False, True]])
    targets = generalised_advantages(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0, 1.5]]), mask, 1.0, 1.0)
    # last: 3 - 1.5 = 1.5, return 3; first: (1 + 1.5 - 0.5) + 1.5 = 3.5, return 4
    assert_close(targets.returns, torch.tensor([[4.0, 0.0, 3.0]]))
    assert_close(targets.advantages, torch.tensor([[3.5, 0.0, 1.5]]))


numbers = st.floats(-9, 9, width=32)


@quick
@given(st.lists(st.tuples(numbers, numbers, st.booleans()), max_size=8).map(lambda rest: [*rest, (1.0, 0.5, True)]))
def test_masked_tokens_are_as_if_they_were_not_there(tokens: list[tuple[float, float, bool]]) -> None:
    rewards, values, own = torch.tensor(tokens).T.unsqueeze(1)
    mask = own.bool()
    targets = generalised_advantages(rewards, values, mask, 0.9, 0.8)
    short = generalised_advantages(rewards[mask][None], values[mask][None], mask[mask][None], 0.9, 0.8)
    assert torch.equal(targets.advantages[mask], short.advantages[0])
    assert torch.equal(targets.returns[mask], short.returns[0])


@pytest.mark.parametrize("junk", [NAN, math.inf, 1e9])
def test_what_stands_at_masked_tokens_never_matters(junk: float) -> None:
    mask = torch.tensor([[True, False, True, False]])
    clean = generalised_advantages(torch.ones(1, 4), torch.ones(1, 4), mask, 0.9, 0.9)
    dirty = torch.tensor([[1.0, junk, 1.0, junk]])
    for with_junk, without in zip(generalised_advantages(dirty, dirty, mask, 0.9, 0.9), clean, strict=True):
        assert torch.equal(with_junk, without)


@pytest.mark.parametrize(("value", "reward", "expected"), [(0.6, 0.5, -0.1), (0.65, 0.8, 0.15)])
def test_the_advantage_of_a_single_token_is_reward_minus_value(value: float, reward: float, expected: float) -> None:
    targets = generalised_advantages(torch.tensor([[reward]]), torch.tensor([[value]]), full([reward]), 1.0, 0.95)
    assert float(targets.advantages) == pytest.approx(expected)


def test_discounted_returns_by_hand() -> None:
    rewards = [1.0, 2.0, 4.0]  # 4, 2 + 4/2 = 4, 1 + 4/2 = 3
    assert torch.equal(discounted_returns(torch.tensor([rewards]), full(rewards), 0.5), torch.tensor([[3.0, 4.0, 4.0]]))


def test_discounted_returns_skip_masked_tokens() -> None:
    mask = torch.tensor([[True, False, True, False]])  # 4, then 1 + 4/2 = 3: one step of discount, not two
    returns = discounted_returns(torch.tensor([[1.0, 99.0, 4.0, 99.0]]), mask, 0.5)
    assert torch.equal(returns, torch.tensor([[3.0, 0.0, 4.0, 0.0]]))


def test_whitening_by_hand() -> None:
    mask = torch.tensor([[True, True, False], [True, True, False]])
    # mean 4, variance (9 + 1 + 1 + 9) / 3 = 20/3: 1 / 2.581989 = 0.387298 and 3 / 2.581989 = 1.161895
    white = whiten(torch.tensor([[1.0, 3.0, 999.0], [5.0, 7.0, NAN]]), mask)
    assert_close(white, torch.tensor([[-1.161895, -0.387298, 0.0], [0.387298, 1.161895, 0.0]]))


@quick
@example(value=0.35, count=8)
@given(value=st.floats(-1e6, 1e6, width=32), count=st.integers(0, 9))
def test_equal_values_whiten_to_exactly_zero(value: float, count: int) -> None:
    values = torch.full((1, 9), value)
    assert torch.equal(whiten(values, torch.arange(9)[None] < count), torch.zeros(1, 9))


@quick
@example([(1e-30, 0.0), (0.0, 0.0)])  # a variance that underflows to zero
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9))
def test_explained_variance_is_at_most_one(pairs: list[tuple[float, float]]) -> None:
    returns, values = torch.tensor(pairs).T
    assert explained_variance(returns, values) <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], 1.0),  # perfect
        ([2.0, 3.0, 4.0], 1.0),  # a constant error has no variance
        ([9.0, 9.0, 9.0], 0.0),  # var(r - 9) / var(r) = 1
        ([2.0, 4.0, 6.0], 0.0),  # var(-r) / var(r) = 1
        ([3.0, 6.0, 9.0], -3.0),  # var(-2 r) / var(r) = 4
    ],
)
def test_explained_variance_by_hand(values: list[float], expected: float) -> None:
    assert explained_variance(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(values)) == pytest.approx(expected)


@pytest.mark.parametrize("constant", [1.0, 0.35])  # the computed variance of eight 0.35 in fp32 is 1e-15, not 0
def test_nothing_is_to_be_explained_in_constant_returns(constant: float) -> None:
    assert explained_variance(torch.full((8,), constant), torch.arange(8).float()) == 0


def test_shapes_are_checked_while_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        group_std_advantages(torch.zeros(3))  # not [G, k]


# Large rewards, and small differences of large rewards, give the advantages that the same groups near zero have.


GROUP = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])
NORMALISED = ("group_std", "group_mean_batch_std")


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", NORMALISED)
def test_normalised_advantages_do_not_depend_on_the_size_of_rewards(estimator: str, kind: torch.dtype) -> None:
    function = GROUP_ESTIMATORS[estimator]
    advantages = function((GROUP * 1e20).to(kind))
    assert advantages.dtype == kind
    torch.testing.assert_close(advantages.float(), function(GROUP), rtol=1e-4, atol=1e-4)


def test_rewards_of_1e20_by_hand() -> None:
    # mean 0, deviation sqrt(2 / 1) = 1.414214 of them
    assert group_std_advantages(torch.tensor([[1e20, -1e20]])).tolist() == [[pytest.approx(0.707107), pytest.approx(-0.707107)]]


@pytest.mark.parametrize("function", [group_mean_advantages, leave_one_out_advantages])
def test_a_mean_of_large_rewards_does_not_overflow(function: object) -> None:
    rewards = torch.tensor([[2e38, 2e38, -2e38, -2e38]])  # their sum in float32, in any order, passes infinity
    assert function(rewards).isfinite().all()  # type: ignore[operator]


def test_a_small_difference_of_large_rewards_is_a_signal() -> None:
    rewards = GROUP.double() + 2**40
    assert torch.equal(group_mean_advantages(rewards), group_mean_advantages(GROUP.double()))


def test_whitening_does_not_depend_on_the_size_of_values() -> None:
    mask = torch.ones_like(GROUP, dtype=torch.bool)
    torch.testing.assert_close(whiten(GROUP * 1e20, mask), whiten(GROUP, mask))


def test_a_small_reward_between_large_ones_is_kept() -> None:
    rewards, mask = torch.tensor([[-(2.0**26), 1.0, 2.0**26]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(discounted_returns(rewards, mask, 1.0)[0, 0]) == 1.0
    assert float(generalised_advantages(rewards, torch.zeros(1, 3), mask, 1.0, 1.0).advantages[0, 0]) == 1.0
