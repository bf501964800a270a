import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ratchet.components.errors import RanksDifferError
from ratchet.components.launch.ranks import ONE, Ranks, fingerprint
from tests.ranks import on_ranks


@given(count=st.integers(0, 40), size=st.integers(1, 9))
def test_parts_are_disjoint_and_even(count: int, size: int) -> None:
    parts = [list(range(count))[Ranks(rank, size).part(count)] for rank in range(size)]
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_single_rank_sends_nothing() -> None:
    assert ONE.exchange(b"all") == [b"all"]
    assert ONE.any(True) is True
    assert ONE.dealt("abc", str.upper) == ["A", "B", "C"]
    ONE.barrier()
    assert not torch.distributed.is_initialized()


def _talk(ranks: Ranks) -> dict[str, Any]:
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 1.0)
    if ranks.first:
        model.weight.grad = torch.tensor([[1.0, 2.0]])
    tensors = [torch.full((3,), 0.1) * (ranks.rank + 1), torch.tensor([ranks.rank], dtype=torch.long)]
    ranks.add_up(tensors)
    ranks.add_up_gradients(list(model.parameters()))
    with ranks.first_alone():
        pass
    return {
        "exchanged": ranks.exchange(b"x" * ranks.rank),
        "dealt": ranks.dealt([1, 2, 3], lambda own: [[number, ranks.rank, float("nan")] for number in own]),
        "any": (ranks.any(ranks.first), ranks.any(False)),
        "sums": [tensor.tolist() for tensor in tensors],
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "cuda": torch.cuda.is_available(),
    }


def test_two_ranks_know_the_same() -> None:
    found = on_ranks(2, _talk)
    assert json.dumps(found[0], default=str) == json.dumps(found[1], default=str)  # NaN does not equal itself
    assert found[0]["exchanged"] == [b"", b"x"]
    assert [row[:2] for row in found[0]["dealt"]] == [[1, 0], [2, 1], [3, 1]]
    assert found[0]["any"] == (True, False)
    total = (torch.tensor(0.1) + torch.tensor(0.1) * 2).item()
    assert found[0]["sums"] == [[total] * 3, [1]]
    weight, bias = found[0]["gradients"]
    assert weight == [[1.0, 2.0]]  # of the one rank that has it
    assert bias is None  # no rank has one


def _differ(ranks: Ranks, what: str) -> str:
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 1.0 + (what == "weights") * ranks.rank)
    nn.init.zeros_(model.bias)
    try:
        ranks.check_equal(model, "same" if what == "weights" else str(ranks.rank))
    except RanksDifferError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("what", "named"), [("weights", "weight"), ("progress", "the run's progress")])
def test_ranks_that_differ_are_refused(what: str, named: str) -> None:
    assert all(
        f"1 of 3 values differ between the ranks, the first is {named}." in error for error in on_ranks(2, _differ, what)
    )


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), st.integers(0, 8))
def test_one_bit_changes_the_fingerprint(values: list[float], place: int) -> None:
    tensor = torch.tensor(values)
    changed = tensor.clone()
    place %= len(values)
    changed[place] = torch.nextafter(changed[place], torch.tensor(float("inf")))
    assert fingerprint(tensor) == fingerprint(tensor.clone())
    assert fingerprint(tensor) != fingerprint(changed)
