"""Attention by groups equals attention with a mask, in value and gradient, for any lengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from ratchet.components.policy.group_attention import PADDED, attend_in_groups, structure_of
from ratchet.components.policy.packing import Group, pack_flat

HEADS, KEY_HEADS, SIZE = 4, 2, 8
groups_of = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=5), min_size=1, max_size=4)


def masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: list[list[int]]) -> torch.Tensor:
    rows = pack_flat([Group([1] * prompt, [[2] * length for length in rest]) for prompt, *rest in groups])
    mask = rows.attention_mask(query.dtype)[0]
    heads = (x.transpose(0, 1)[None] for x in (query, key, value))
    return scaled_dot_product_attention(*heads, mask, scale=0.3, enable_gqa=True)[0].transpose(0, 1)


@settings(deadline=None, max_examples=60)
@given(groups_of, st.integers(0, 2**31))
def test_groups_equal_the_mask(groups: list[list[int]], seed: int) -> None:
    generator, tokens = torch.Generator().manual_seed(seed), sum(map(sum, groups))

    def made(heads: int) -> torch.Tensor:
        return torch.randn(tokens, heads, SIZE, generator=generator, dtype=torch.float64).requires_grad_()

    given, upstream = (made(HEADS), made(KEY_HEADS), made(KEY_HEADS)), made(HEADS).detach()
    found, expected = attend_in_groups(*given, structure_of(groups), 0.3), masked(*given, groups)
    assert_close(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(out, given, upstream) for out in (found, expected)), strict=True):
        assert_close(ours, theirs)


def test_large_scores_join_without_overflow() -> None:
    query, key = torch.full((5, 1, 1), 30.0), torch.tensor([20.0, -20.0, 1.0, 20.0, -30.0]).reshape(5, 1, 1)
    value = torch.arange(5.0).reshape(5, 1, 1)
    found = attend_in_groups(query, key, value, structure_of([[2, 1, 2]]))
    # Tokens 0 and 3 have equal keys; all others are far below.
    assert found.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0, 1.5, 1.5])


def test_padding_after_the_groups_is_zero_and_has_no_gradient() -> None:
    given = [torch.ones(6, 1, 2, requires_grad=True) for _ in range(3)]
    out = attend_in_groups(*given, structure_of([[2, 1, 1]]))
    assert out[:, 0, 0].tolist() == pytest.approx([1, 1, 1, 1, 0, 0])
    gradients = torch.autograd.grad(out.sum(), given)
    assert all(not gradient[4:].any() for gradient in gradients)


def test_bf16_is_computed_in_fp32() -> None:
    query, key, value = torch.randn(3, 9, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    structure = structure_of([[3, 2, 4]])
    found = attend_in_groups(query, key, value, structure)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, attend_in_groups(query.float(), key.float(), value.float(), structure).bfloat16())


def test_a_single_completion_is_one_sequence_with_its_prompt() -> None:
    structure = structure_of([[3, 4], [2, 5]])
    assert structure.prompts == []
    (batch,) = structure.batches
    assert batch.tokens.tolist() == [*range(7), *range(7, 14)]
    assert batch.inside is None


@given(groups_of)
def test_each_token_is_in_one_sequence_and_batches_have_little_padding(groups: list[list[int]]) -> None:
    structure, found = structure_of(groups), []
    for batch in structure.batches:
        lengths = (~batch.beyond[:, 0]).sum(1)
        assert int(lengths.max()) <= PADDED * int(lengths.min())
        found += (batch.tokens if batch.inside is None else batch.tokens[batch.inside]).tolist()
    assert sorted(found) == list(range(structure.end))
    assert structure.end == sum(map(sum, groups))
