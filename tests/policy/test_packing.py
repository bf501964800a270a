"""Packed rows score exactly as each completion alone does."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from components.policy.log_probs import score_tokens
from components.policy.packing import Group, assign_rows, pack
from tests.tiny_models import tiny_policy

SHARED = [
    Group([5, 6, 7], [[8, 9, 10, 1], [11, 1], [12, 13, 14]]),
    Group([20], [[21, 22], [23, 24, 25, 26, 1]]),
    Group([30, 31, 32, 33, 34], [[35]]),
]
SINGLE = [Group(group.prompt, [completion]) for group in SHARED for completion in group.completions]


def alone(model: torch.nn.Module, groups: Sequence[Group]) -> Tensor:
    """Log-probs of every completion token, each sequence by itself, without packing or padding."""
    scores = []
    for prompt, completions in groups:
        for completion in completions:
            tokens = torch.tensor([[*prompt, *completion]])
            log_probs = model(input_ids=tokens).logits[0].log_softmax(-1)
            scores.append(log_probs[len(prompt) - 1 : -1].gather(-1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(scores)


def packed(model: torch.nn.Module, groups: Sequence[Group], row_tokens: int = 128, pad: int = 0) -> Tensor:
    """The same through packed rows, put back into the order of the completions."""
    rows = pack(groups, row_tokens, pad)
    scores = score_tokens(model, rows).log_probs
    order = sorted(range(len(scores)), key=lambda i: (int(rows.sequence[i]), int(rows.index[i])))
    return scores[order]


def gradient(model: torch.nn.Module, scores: Tensor) -> list[Tensor]:
    weighted = (scores * torch.linspace(-1, 1, len(scores))).sum()  # unequal weights, so that errors cannot cancel
    return list(torch.autograd.grad(weighted, list(model.parameters())))


@pytest.mark.parametrize("groups", [SINGLE, SHARED], ids=["one completion", "shared prompt"])
def test_packing_does_not_change_log_probs(groups: list[Group]) -> None:
    model = tiny_policy(layers=2).model
    assert_close(packed(model, groups), alone(model, groups), rtol=0, atol=1e-4)  # other kernels, fp32


@pytest.mark.parametrize("groups", [SINGLE, SHARED], ids=["one completion", "shared prompt"])
def test_packing_does_not_change_gradients(groups: list[Group]) -> None:
    model = tiny_policy(layers=2).model
    for ours, theirs in zip(gradient(model, packed(model, groups)), gradient(model, alone(model, groups)), strict=True):
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
