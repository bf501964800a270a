"""Per-token losses against hand-computed numbers, in value and in gradient."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

from ratchet.components.algorithms.losses import (
    PolicyLoss,
    cispo_loss,
    clipped_policy_loss,
    clipped_value_loss,
    masked_mean,
    sequence_log_ratio,
    token_weights,
    truncated_importance_weights,
)

NO_ONE = torch.zeros(0, dtype=torch.long)


def gradient_of(loss: Callable[[Tensor], Tensor], at: float) -> tuple[float, float]:
    """Value and derivative of the loss of one token."""
    point = torch.tensor([at], requires_grad=True)
    value = loss(point).sum()
    return float(value.detach()), float(torch.autograd.grad(value, point)[0])


def clipped(ratio: float, advantage: float, dual_clip: float | None = None) -> tuple[float, float]:
    """Value and derivative by the log-ratio with a clip of 0.2 below and 0.28 above."""
    advantages = torch.tensor([advantage])
    return gradient_of(lambda x: clipped_policy_loss(x, advantages, 0.2, 0.28, dual_clip).loss, math.log(ratio))


# The clipped surrogate


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.5, 2.0, -2.56),  # -min(3.0, 1.28 x 2): far enough up already
        (1.3, 2.0, -2.56),  # -min(2.6, 1.28 x 2)
        (0.5, -2.0, 1.6),  # -min(-1.0, 0.8 x -2): far enough down already
    ],
)
def test_moves_in_the_advantages_direction_are_clipped(ratio: float, advantage: float, loss: float) -> None:
    assert clipped(ratio, advantage) == pytest.approx((loss, 0.0))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (0.5, 2.0, -1.0),  # -min(1.0, 1.6): a good token that became rarer is pulled back
        (1.5, -2.0, 3.0),  # -min(-3.0, -2.56): a bad token that became likelier is pushed back
        (1.25, 2.0, -2.5),  # above 1.2, within clip-higher's 1.28
        (0.9, -2.0, 1.8),
    ],
)
def test_other_moves_keep_their_gradient(ratio: float, advantage: float, loss: float) -> None:
    assert clipped(ratio, advantage) == pytest.approx((loss, -ratio * advantage))


def test_the_flags_say_which_clip_removed_the_gradient() -> None:
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]).log()
    surrogate = clipped_policy_loss(log_ratio, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]), 0.2, 0.28)
    assert surrogate.clipped_high.tolist() == [True, False, False, False, False]
    assert surrogate.clipped_low.tolist() == [False, False, False, True, False]


def test_the_dual_clip_bounds_the_loss_of_a_bad_token() -> None:
    assert clipped(5.0, -2.0, dual_clip=3.0) == pytest.approx((6.0, 0.0))  # 3 x 2 instead of 5 x 2
    assert clipped(2.0, -2.0, dual_clip=3.0) == pytest.approx((4.0, 4.0))  # below the bound: 2 x 2, -ratio A


def test_the_dual_clip_leaves_good_tokens_alone() -> None:
    assert clipped(5.0, 2.0, dual_clip=3.0) == clipped(5.0, 2.0)
    assert clipped(0.5, 2.0, dual_clip=3.0) == clipped(0.5, 2.0)


@settings(deadline=None, max_examples=100)
@given(st.floats(-30, 30), st.floats(-5, -0.01))
def test_with_a_dual_clip_no_loss_is_above_its_bound(log_ratio: float, advantage: float) -> None:
    surrogate = clipped_policy_loss(torch.tensor([log_ratio]), torch.tensor([advantage]), 0.2, 0.28, dual_clip=3.0)
    assert float(surrogate.loss) <= -3.0 * advantage * (1 + 1e-6)


# CISPO


@pytest.mark.parametrize(
    ("ratio", "clip_low", "weight"),
    [
        (1.5, 1.0, 1.5),
        (8.0, 1.0, 5.0),  # bounded at 1 + 4
        (0.1, 1.0, 0.1),  # a clip_low of 1 is no lower bound
        (0.1, 0.2, 0.8),
    ],
)
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_cispo_bounds_the_weight_and_keeps_the_gradient(ratio: float, clip_low: float, weight: float, advantage: float) -> None:
    def loss(log_probs: Tensor) -> Tensor:
        log_ratio = log_probs - (-1.0 - math.log(ratio))  # the old log-prob of a token that is now at -1
        return cispo_loss(log_probs, log_ratio, torch.tensor([advantage]), clip_low, 4.0).loss

    # -w A log p and its derivative -w A: none through the weight
    assert gradient_of(loss, at=-1.0) == pytest.approx((weight * advantage, -weight * advantage))


def test_cispo_flags_the_bounded_weights() -> None:
    log_ratio = torch.tensor([0.5, 1.0, 8.0]).log()
    surrogate = cispo_loss(torch.zeros(3), log_ratio, torch.tensor([1.0, 1.0, -1.0]), 0.2, 4.0)
    assert surrogate.clipped_low.tolist() == [True, False, False]
    assert surrogate.clipped_high.tolist() == [False, False, True]


# At ratio one

MASK = torch.tensor([[True, True, True], [True, False, False]])  # completions of 3 tokens and of 1
SEQUENCE = torch.tensor([0, 0, 0, 1])
OWN = torch.ones(4, dtype=torch.bool)
ADVANTAGES = torch.tensor([2.0, 2.0, 2.0, -1.0])


def gradient_at_ratio_one(surrogate: Callable[[Tensor, Tensor], PolicyLoss], normaliser: str) -> Tensor:
    log_probs = torch.tensor([-0.3, -1.2, -4.0, -0.7], requires_grad=True)
    loss = surrogate(log_probs, log_probs - log_probs.detach()).loss
    return torch.autograd.grad((loss * token_weights(MASK, normaliser, 3)[MASK]).sum(), log_probs)[0]


@pytest.mark.parametrize(
    "surrogate",
    [
        lambda log_probs, log_ratio: clipped_policy_loss(log_ratio, ADVANTAGES, 0.2, 0.2),
        lambda log_probs, log_ratio: clipped_policy_loss(log_ratio, ADVANTAGES, 0.2, 0.2, 3.0),
        lambda log_probs, log_ratio: cispo_loss(log_probs, log_ratio, ADVANTAGES, 1.0, 4.0),
    ],
    ids=["clip", "dual_clip", "cispo"],
)
def test_token_ratios_give_the_gradient_of_reinforce(surrogate: Callable[[Tensor, Tensor], PolicyLoss]) -> None:
    # token_mean: -sum over 4 tokens of A log p / 4
    assert_close(gradient_at_ratio_one(surrogate, "token_mean"), torch.tensor([-0.5, -0.5, -0.5, 0.25]))


def test_sequence_ratios_give_the_gradient_of_reinforce_on_the_mean_log_prob() -> None:
    gradient = gradient_at_ratio_one(
        lambda _, x: clipped_policy_loss(sequence_log_ratio(x, OWN, SEQUENCE, mean=True), ADVANTAGES, 3e-4, 4e-4),
        "sequence_mean",
    )
    # -A x mean log p / 2 completions: -2 / 3 / 2 on each of three tokens, 1 / 2 on the one
    assert_close(gradient, torch.tensor([-1 / 3, -1 / 3, -1 / 3, 0.5]))


def test_completion_ratios_give_the_gradient_of_reinforce_on_the_whole_log_prob() -> None:
    gradient = gradient_at_ratio_one(
        lambda _, x: clipped_policy_loss(sequence_log_ratio(x, OWN, SEQUENCE, mean=False), ADVANTAGES, 0.2, 0.2),
        "sequence_mean",
    )
    assert_close(gradient, torch.tensor([-1.0, -1.0, -1.0, 0.5]))  # -A x sum log p / 2 completions


def test_at_ratio_one_nothing_is_clipped() -> None:
    surrogate = clipped_policy_loss(torch.zeros(4), ADVANTAGES, 3e-4, 4e-4, 3.0)
    assert not (surrogate.clipped_low | surrogate.clipped_high).any()


# A completion's ratio


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        (True, [0.5, 0.5, 0.5, -2.0]),  # (0.4 + 0.6) / 2 over the own tokens of the first; the masked 9 counts nowhere
        (False, [1.0, 1.0, 1.0, -2.0]),
    ],
)
def test_a_completions_log_ratio_is_over_its_own_tokens(mean: bool, expected: list[float]) -> None:
    own = torch.tensor([True, False, True, True])
    log_ratio = sequence_log_ratio(torch.tensor([0.4, 9.0, 0.6, -2.0]), own, SEQUENCE, mean)
    assert_close(log_ratio, torch.tensor(expected))


@pytest.mark.parametrize("mean", [True, False])
def test_a_fully_masked_completion_has_log_ratio_zero_and_no_gradient(mean: bool) -> None:
    log_ratio = torch.tensor([0.4, math.inf, math.nan, -2.0], requires_grad=True)
    result = sequence_log_ratio(log_ratio, torch.tensor([False, False, False, True]), SEQUENCE, mean)
    assert_close(result, torch.tensor([0.0, 0.0, 0.0, -2.0]))
    assert_close(torch.autograd.grad(result.sum(), log_ratio)[0], torch.tensor([0.0, 0.0, 0.0, 1.0]))


def test_the_order_of_tokens_and_gaps_in_the_numbering_do_not_matter() -> None:
    own = torch.ones(3, dtype=torch.bool)
    log_ratio = sequence_log_ratio(torch.tensor([1.0, 5.0, 3.0]), own, torch.tensor([7, 2, 7]), mean=True)
    assert_close(log_ratio, torch.tensor([2.0, 5.0, 2.0]))


@pytest.mark.parametrize("mean", [True, False])
def test_no_tokens_have_no_ratios(mean: bool) -> None:
    assert sequence_log_ratio(torch.zeros(0), torch.zeros(0, dtype=torch.bool), NO_ONE, mean).shape == (0,)


# Weights, values, extremes


def test_truncated_weights_are_capped_and_without_gradient() -> None:
    log_probs = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    sampler = torch.tensor([-1.0, -1.0 - math.log(1.5), -1.0 - math.log(9.0)])
    weights = truncated_importance_weights(log_probs, sampler, cap=2.0)
    assert_close(weights, torch.tensor([1.0, 1.5, 2.0]))
    assert not weights.requires_grad


def test_rare_tokens_keep_a_small_truncated_weight() -> None:
    weight = truncated_importance_weights(torch.tensor([-3.0]), torch.tensor([-1.0]), cap=2.0)
    assert float(weight) == pytest.approx(0.1353353)  # exp(-2): bounded above only


@pytest.mark.parametrize(
    ("value", "target", "expected", "gradient"),
    [
        (1.0, 2.0, 1.62, 0.0),  # moved to 0.2 at most: 0.5 max(1^2, 1.8^2), and further there is no gradient
        (1.0, 0.0, 0.5, 1.0),  # 0.5 max(1^2, 0.2^2): too far the wrong way is pulled back
        (0.1, 1.0, 0.405, -0.9),  # inside the clip: 0.5 x 0.9^2
    ],
)
def test_the_value_loss_takes_the_worse_of_two(value: float, target: float, expected: float, gradient: float) -> None:
    result = gradient_of(lambda x: clipped_value_loss(x, torch.zeros(1), torch.tensor([target]), 0.2), value)
    assert result == pytest.approx((expected, gradient))


def test_without_a_clip_the_value_loss_is_half_the_square() -> None:
    result = gradient_of(lambda x: clipped_value_loss(x, torch.zeros(1), torch.tensor([2.0]), None), 1.0)
    assert result == pytest.approx((0.5, -1.0))


@pytest.mark.parametrize("log_ratio", [-1000.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
@pytest.mark.parametrize(
    "surrogate",
    [
        lambda x, advantages: clipped_policy_loss(x, advantages, 0.2, 0.2),
        lambda x, advantages: clipped_policy_loss(x, advantages, 0.2, 0.2, 3.0),
        lambda x, advantages: cispo_loss(x, x, advantages, 1.0, 1e9),
    ],
    ids=["clip", "dual_clip", "cispo"],
)
def test_huge_ratios_stay_finite(log_ratio: float, advantage: float, surrogate: Callable[[Tensor, Tensor], PolicyLoss]) -> None:
    loss, gradient = gradient_of(lambda x: surrogate(x, torch.tensor([advantage])).loss, log_ratio)
    assert math.isfinite(loss)
    assert math.isfinite(gradient)


def test_a_huge_truncated_weight_stays_finite() -> None:
    assert truncated_importance_weights(torch.tensor([1000.0]), torch.tensor([0.0]), math.inf).isfinite().all()


# Token weights by hand; the total does not depend on how a minibatch is cut, padded or ordered.


MODES = ["sequence_mean", "token_mean", "constant"]
LIMIT = 16

every_mode = pytest.mark.parametrize("mode", MODES)
quick = settings(deadline=None, max_examples=30)
lengths_of_a_batch = st.lists(st.integers(0, 12), min_size=1, max_size=8)


def ragged(lengths: list[int], width: int | None = None) -> Tensor:
    """Mask [S, T] of completions with these lengths, T at least the longest."""
    return torch.arange(max(lengths) if width is None else width)[None] < torch.tensor(lengths)[:, None]


def losses_of(mask: Tensor) -> Tensor:
    """Some loss per token, other ones in every row and column."""
    rows, columns = mask.shape
    return torch.sin(torch.arange(rows)[:, None] * 12.0 + torch.arange(columns)[None] + 1.0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sequence_mean", [[1 / 9, 1 / 9, 1 / 9], [1 / 3, 0, 0], [1 / 6, 1 / 6, 0]]),  # 3 completions of 3, 1 and 2 tokens
        ("token_mean", [[1 / 6, 1 / 6, 1 / 6], [1 / 6, 0, 0], [1 / 6, 1 / 6, 0]]),  # 6 tokens
        ("constant", [[1 / 48, 1 / 48, 1 / 48], [1 / 48, 0, 0], [1 / 48, 1 / 48, 0]]),  # 3 completions x 16 possible tokens
    ],
)
def test_weights_of_ragged_completions_by_hand(mode: str, expected: list[list[float]]) -> None:
    assert_close(token_weights(ragged([3, 1, 2]), mode, LIMIT), torch.tensor(expected))


def test_masked_tokens_inside_a_completion_do_not_count_in_its_length() -> None:
    mask = torch.tensor([[True, False, True], [True, True, True]])
    expected = torch.tensor([[1 / 4, 0, 1 / 4], [1 / 6, 1 / 6, 1 / 6]])  # 2 completions of 2 and 3 own tokens
    assert_close(token_weights(mask, "sequence_mean", LIMIT), expected)


@pytest.mark.parametrize("mode", ["sequence_mean", "token_mean"])
@quick
@given(lengths=lengths_of_a_batch.filter(any))
def test_the_weights_of_a_mean_sum_to_one(mode: str, lengths: list[int]) -> None:
    assert_close(token_weights(ragged(lengths), mode, LIMIT).sum(), torch.tensor(1.0))


@every_mode
@quick
@given(lengths=lengths_of_a_batch, cut=st.integers(0, 8))
def test_the_total_does_not_depend_on_the_cut_into_micro_batches(mode: str, lengths: list[int], cut: int) -> None:
    mask = ragged(lengths)
    weighted = token_weights(mask, mode, LIMIT) * losses_of(mask)
    assert_close(weighted[:cut].sum() + weighted[cut:].sum(), weighted.sum())


def test_weights_of_each_micro_batch_alone_would_depend_on_the_cut() -> None:
    mask = ragged([3, 1])  # why weights know the whole minibatch: the mean of means is not the mean
    whole = (token_weights(mask, "token_mean", LIMIT) * losses_of(mask)).sum()
    halves = [(token_weights(row[None], "token_mean", LIMIT) * losses_of(mask)[i]).sum() / 2 for i, row in enumerate(mask)]
    assert not torch.isclose(sum(halves, torch.tensor(0.0)), whole)


@every_mode
@quick
@given(lengths=lengths_of_a_batch, left=st.integers(0, 3), right=st.integers(0, 3))
def test_padding_changes_no_weight(mode: str, lengths: list[int], left: int, right: int) -> None:
    mask = ragged(lengths)
    padded = token_weights(pad(mask, (left, right)), mode, LIMIT)
    assert torch.equal(padded, pad(token_weights(mask, mode, LIMIT), (left, right)))


@every_mode
@quick
@given(lengths=lengths_of_a_batch, data=st.data())
def test_the_order_of_the_batch_changes_no_weight(mode: str, lengths: list[int], data: st.DataObject) -> None:
    mask, order = ragged(lengths), data.draw(st.permutations(range(len(lengths))))
    assert torch.equal(token_weights(mask[order], mode, LIMIT), token_weights(mask, mode, LIMIT)[order])


@every_mode
@quick
@given(lengths=lengths_of_a_batch)
def test_fully_masked_completions_count_nowhere(mode: str, lengths: list[int]) -> None:
    weights = token_weights(ragged([*lengths, 0]), mode, LIMIT)
    assert torch.equal(weights[:-1], token_weights(ragged(lengths), mode, LIMIT))


@every_mode
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 3)])
def test_a_minibatch_without_tokens_weighs_nothing(mode: str, shape: tuple[int, int]) -> None:
    assert torch.equal(token_weights(torch.zeros(shape, dtype=torch.bool), mode, LIMIT), torch.zeros(shape))


def test_the_constant_mode_does_not_know_the_longest_completion() -> None:
    # 2 tokens of loss 1 in 1 completion, limit 16: 2 / 16, whatever the width
    assert float(token_weights(ragged([2], width=9), "constant", LIMIT).sum()) == 0.125


def test_the_masked_mean_sees_only_its_mask() -> None:
    values = torch.tensor([[1.0, math.nan], [3.0, math.inf]])
    assert float(masked_mean(values, torch.tensor([[True, False], [True, False]]))) == 2


def test_the_masked_mean_of_nothing_is_zero() -> None:
    assert float(masked_mean(torch.tensor([math.nan]), torch.tensor([False]))) == 0
