"""Token weights by hand, and that the total does not depend on how a minibatch is cut, padded or ordered."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

from ratchet.components.algorithms.normalisers import masked_mean, token_weights

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
