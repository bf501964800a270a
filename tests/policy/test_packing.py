"""Packed rows score exactly as each completion alone does."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.errors import ModelError
from ratchet.components.policy.packing import Group, assign_rows, pack
from tests.policy.scoring import alone, gradient, packed, padded
from tests.tiny_models import tiny_policy

Scorer = Callable[[Any, list[Group]], Tensor]

SHARED = [
    Group([5, 6, 7], [[8, 9, 10, 1], [11, 1], [12, 13, 14]]),
    Group([20], [[21, 22], [23, 24, 25, 26, 1]]),
    Group([30, 31, 32, 33, 34], [[35]]),
]
SINGLE = [Group(group.prompt, [completion]) for group in SHARED for completion in group.completions]


@pytest.mark.parametrize("other", [alone, padded])
@pytest.mark.parametrize("groups", [SINGLE, SHARED], ids=["one completion", "shared prompt"])
def test_packing_does_not_change_log_probs(groups: list[Group], other: Scorer) -> None:
    model = tiny_policy(layers=2).model
    assert_close(packed(model, groups), other(model, groups), rtol=0, atol=1e-4)  # other kernels, fp32


@pytest.mark.parametrize("other", [alone, padded])
@pytest.mark.parametrize("groups", [SINGLE, SHARED], ids=["one completion", "shared prompt"])
def test_packing_does_not_change_gradients(groups: list[Group], other: Scorer) -> None:
    model = tiny_policy(layers=2).model
    for ours, theirs in zip(gradient(model, packed(model, groups)), gradient(model, other(model, groups)), strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-3)  # sums of thousands of fp32 products, up to about 10


@pytest.mark.parametrize(("row_tokens", "pad"), [(8, 0), (16, 0), (128, 7)])
def test_row_width_and_padding_token_do_not_matter(row_tokens: int, pad: int) -> None:
    model = tiny_policy().model
    assert_close(packed(model, SHARED, row_tokens, pad), packed(model, SHARED), rtol=0, atol=1e-4)


def test_a_completion_does_not_see_its_siblings() -> None:
    model = tiny_policy().model
    first = packed(model, [Group([5, 6], [[7, 8], [9, 10, 11]])])[2:]
    second = packed(model, [Group([5, 6], [[50, 60], [9, 10, 11]])])[2:]
    assert torch.equal(first, second)


def test_a_completion_sees_its_prompt() -> None:
    model = tiny_policy().model
    assert not torch.allclose(packed(model, [Group([5, 6], [[7, 8]])]), packed(model, [Group([40, 6], [[7, 8]])]), atol=1e-2)


def test_the_example_of_the_module() -> None:
    rows = pack([Group([10, 11], [[12, 13], [14]])])
    assert rows.tokens.tolist() == [[10, 11, 12, 13, 14]]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert rows.groups.tolist() == [[0, 0, 0, 0, 0]]
    assert rows.branches.tolist() == [[0, 0, 1, 1, 2]]
    assert rows.target_column.tolist() == [2, 3, 4]
    assert rows.predictor_column.tolist() == [1, 2, 1]


def test_targets_are_the_completions_tokens_with_their_numbers() -> None:
    rows = pack(SHARED, row_tokens=16)
    found: dict[int, list[int]] = {}
    for sequence, index, token in sorted(zip(*(t.tolist() for t in (rows.sequence, rows.index, rows.targets)), strict=True)):
        assert index == len(found.setdefault(sequence, []))
        found[sequence].append(token)
    assert list(found.values()) == [list(completion) for group in SHARED for completion in group.completions]


def test_padding_is_marked() -> None:
    rows = pack([Group([5], [[6, 7, 8]]), Group([5], [[6]])], row_tokens=4)
    assert rows.groups.tolist() == [[0, 0, 0, 0], [1, 1, -1, -1]]


@pytest.mark.parametrize("group", [Group([], [[5]]), Group([5], [[]])], ids=["empty prompt", "empty completion"])
def test_a_group_without_tokens_to_score_or_to_score_from_is_refused(group: Group) -> None:
    with pytest.raises((AssertionError, ValueError)):
        pack([SINGLE[0], group])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), max_size=20), st.integers(1, 30))
def test_every_group_lies_in_one_row_and_no_row_overflows(lengths: list[int], row_tokens: int) -> None:
    rows = assign_rows(lengths, row_tokens)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= max(row_tokens, *lengths) for row in rows)


def test_groups_go_where_they_leave_the_least_room() -> None:
    # 6 and 5 open two rows of 10; the 4 fits the first exactly, the 3 goes to the second.
    assert assign_rows([3, 4, 5, 6], 10) == [[3, 1], [2, 0]]


def test_a_group_longer_than_a_row_widens_every_row() -> None:
    assert assign_rows([12, 5, 5], 10) == [[0], [1, 2]]


# Positions of the columns below: prompt 0 1 2, first completion 3 4, second completion 3.
BRANCHED = Group([5, 6, 7], [[8, 9], [10]])
FULL = [
    [1, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [1, 1, 1, 0, 0, 0],
    [1, 1, 1, 1, 0, 0],
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 0, 0, 1],  # the second completion: the prompt and itself
]
WINDOW_OF_TWO = [
    [1, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [0, 1, 1, 0, 0, 0],
    [0, 0, 1, 1, 0, 0],
    [0, 0, 0, 1, 1, 0],
    [0, 0, 1, 0, 0, 1],  # the prompt's last token is one position away, though three columns
]


def seen(mask: Any) -> list[list[int]]:
    """One row's additive mask as ones and zeros."""
    return (mask[0, 0] == 0).int().tolist()


@pytest.mark.parametrize(("window", "expected"), [(None, FULL), (2, WINDOW_OF_TWO), (5, FULL)])
def test_positions_not_columns_decide_what_a_window_shows(window: int | None, expected: list[list[int]]) -> None:
    assert seen(pack([BRANCHED]).attention_mask(torch.float32, window)) == expected


def test_groups_in_a_row_do_not_see_each_other() -> None:
    rows = pack([Group([5], [[6]]), Group([7], [[8]])])
    assert seen(rows.attention_mask(torch.float32)) == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_no_row_of_the_mask_is_empty() -> None:
    rows = pack([BRANCHED, Group([5], [[6]])], row_tokens=6)  # the second row is padded
    assert (rows.attention_mask(torch.float32, 1) == 0).any(-1).all()


def test_layers_of_two_kinds_get_a_mask_each() -> None:
    config = SimpleNamespace(layer_types=["sliding_attention", "full_attention", "sliding_attention"], sliding_window=2)
    masks = pack([BRANCHED]).attention_for(config, torch.float32)
    assert isinstance(masks, dict)
    assert {kind: seen(mask) for kind, mask in masks.items()} == {"full_attention": FULL, "sliding_attention": WINDOW_OF_TWO}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, FULL),
        ({"sliding_window": None}, FULL),
        ({"sliding_window": 2}, WINDOW_OF_TWO),
        ({"sliding_window": 2, "layer_types": None}, WINDOW_OF_TWO),
        ({"sliding_window": 2, "layer_types": ["full_attention"]}, FULL),
        ({"sliding_window": 2, "layer_types": ["sliding_attention"]}, WINDOW_OF_TWO),
    ],
)
def test_layers_of_one_kind_get_one_mask(config: dict[str, Any], expected: list[list[int]]) -> None:
    assert seen(pack([BRANCHED]).attention_for(SimpleNamespace(**config), torch.float32)) == expected


def test_layers_of_an_unknown_kind_are_refused_by_name() -> None:
    config = SimpleNamespace(layer_types=["full_attention", "linear_attention"])
    with pytest.raises(ModelError, match="linear_attention layers"):
        pack([BRANCHED]).attention_for(config, torch.float32)
