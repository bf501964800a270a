"""Micro-batches: every token once, each with its own figures."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group
from ratchet.components.training.batches import MicroBatch, micro_batches, token_matrix, token_runs
from ratchet.components.training.rollouts import Rollouts
from tests.tiny_models import tiny_policy
from tests.training.rollouts import completion, hand_made, sampled

CPU = torch.device("cpu")
REWARDS = [1.0, 0.0, 0.25, 0.5, 0.5, 0.5, 0.0, 1.0, 1.0]
ROLLOUTS = sampled(REWARDS, 3)
NUCLEUS = sampled(REWARDS, 3, temperature=1.3, top_p=0.7)


def groups_of(sizes: list[int]) -> list[Group]:
    return [Group([1], [[2] * (size - 1)]) for size in sizes]


def test_runs_hold_at_most_their_limit() -> None:
    assert token_runs(groups_of([3, 4, 10, 2, 2]), [7, 5, 0, 1, 2], 7) == [[7, 5], [0], [1, 2]]


@given(st.lists(st.integers(2, 30), max_size=20), st.integers(1, 60))
def test_runs_are_the_groups_in_order_cut_where_they_must_be(sizes: list[int], limit: int) -> None:
    runs = token_runs(groups_of(sizes), range(len(sizes)), limit)
    assert [number for run in runs for number in run] == list(range(len(sizes)))
    assert all(len(run) == 1 or sum(sizes[i] for i in run) <= limit for run in runs)
    # no two neighbours would have fitted together
    assert all(sum(sizes[i] for i in [*a, b[0]]) > limit for a, b in pairwise(runs))


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(3)), st.integers(0, 3), st.sampled_from([1, 20, 45, 16_384]))
def test_every_token_of_the_kept_groups_comes_once_in_its_place(order: list[int], kept: int, limit: int) -> None:
    numbers = order[:kept]
    seen = []
    for batch in micro_batches(ROLLOUTS, numbers, limit, CPU):
        places = list(zip(batch.completion.tolist(), batch.index.tolist(), strict=True))
        assert batch.rows.targets.tolist() == [ROLLOUTS.completions[s].tokens[t] for s, t in places]
        seen += places
    assert sorted(seen) == [
        (s, t) for s, c in enumerate(ROLLOUTS.completions) if s // 3 in numbers for t in range(len(c.tokens))
    ]


@pytest.mark.parametrize("limit", [1, 16_384])
def test_a_batch_takes_the_figures_of_its_own_tokens(limit: int) -> None:
    matrix = torch.arange(ROLLOUTS.mask.numel()).reshape(ROLLOUTS.mask.shape)
    width = matrix.shape[1]
    for batch in micro_batches(ROLLOUTS, [2, 0, 1], limit, CPU):
        assert batch.take(matrix).tolist() == [
            int(s) * width + int(t) for s, t in zip(batch.completion, batch.index, strict=True)
        ]


@pytest.mark.parametrize("limit", [1, 16_384])
def test_a_token_has_the_nucleus_that_it_was_drawn_from(limit: int) -> None:
    for batch in micro_batches(NUCLEUS, [2, 0, 1], limit, CPU):
        assert batch.nucleus is not None
        for number, (s, t) in enumerate(zip(batch.completion.tolist(), batch.index.tolist(), strict=True)):
            kept = batch.nucleus.kept[batch.nucleus.token == number].tolist()
            assert kept == (NUCLEUS.completions[s].nucleus or [])[t]
            assert batch.rows.targets[number] in kept


def test_without_top_p_there_is_no_nucleus() -> None:
    assert next(micro_batches(ROLLOUTS, [0], 100, CPU)).nucleus is None


@pytest.mark.parametrize(("rollouts", "temperature"), [(ROLLOUTS, 1.0), (NUCLEUS, 1.3)])
@pytest.mark.parametrize("limit", [1, 20, 16_384])
def test_a_matrix_of_log_probs_has_each_token_in_its_place(rollouts: Rollouts, temperature: float, limit: int) -> None:
    policy = tiny_policy()

    def log_probs(batch: MicroBatch) -> torch.Tensor:
        return score_tokens(policy.model, batch.rows, temperature, batch.nucleus)

    matrix = token_matrix(rollouts, log_probs, limit, policy)
    assert_close(matrix, rollouts.log_probs, rtol=0, atol=1e-4)  # cached against packed attention, fp32


def test_a_matrix_is_zero_beyond_the_ends_and_has_no_gradient() -> None:
    rollouts = hand_made([1.0, 0.0], [completion(-1.0, -1.0, -1.0), completion(-1.0)])
    weight = torch.ones((), requires_grad=True)
    matrix = token_matrix(rollouts, lambda batch: weight * (batch.index + 1), 100, tiny_policy())
    assert matrix.tolist() == [[1.0, 2.0, 3.0], [1.0, 0.0, 0.0]]
    assert not matrix.requires_grad
