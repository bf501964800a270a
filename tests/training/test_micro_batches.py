"""Micro-batches: every token once, each with its own figures."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import ratchet.components.training.micro_batches as batches
import ratchet.components.training.objectives as objectives
from ratchet.components.errors import ModelError
from ratchet.components.launch.ranks import Ranks
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.micro_batches import MicroBatch, TokenBudget, micro_batches, token_matrix, token_runs
from ratchet.components.training.rollouts import Rollouts
from tests.tiny_models import same, tiny_policy
from tests.training.rollouts import completion, hand_made, sampled
from tests.training.toy import build, everything, finish, setting, short, steps_of

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


# Running out of memory: half the tokens, the same update, and a record that repeats it to the bit.


GROUP = 40  # no group of the toy task is larger


def fits(limit: int) -> Any:
    """A call for which memory ends above ``limit`` tokens, and the sizes that it was tried with."""
    tried: list[int] = []

    def call(tokens: int) -> str:
        tried.append(tokens)
        if tokens > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return "done"

    return call, tried


def test_after_running_out_of_memory_a_call_is_repeated_with_half_the_tokens() -> None:
    budget, (call, tried) = TokenBudget(1000), fits(300)
    budget.begin(4)
    assert [budget.spend(call, 100), budget.spend(call, 100)] == ["done", "done"]
    assert tried == [1000, 500, 250, 250]  # and stays so
    assert budget.smaller == {"4.1": 250}


def test_where_one_group_is_too_much_the_remedy_is_named() -> None:
    budget, (call, tried) = TokenBudget(1000), fits(10)
    with pytest.raises(ModelError, match=r"one group of 300 tokens \(CUDA out of memory\).*gradient_checkpointing"):
        budget.spend(call, 300)
    assert tried == [1000, 500, 250]


def test_a_budget_is_lowered_where_the_repeated_run_lowered_it() -> None:
    budget, (call, tried) = TokenBudget(1000, given={"4.2": 250}), fits(1000)
    for step in (3, 4, 5):
        budget.begin(step)
        for _ in range(2):
            budget.spend(call, 100)
    assert tried == [1000, 1000, 1000, 250, 250, 250]
    assert budget.smaller == {"4.2": 250}


def out_of_memory_in(monkeypatch: pytest.MonkeyPatch, module: Any, call: int, limit: int) -> None:
    """The second micro-batch of a minibatch or pass runs out of memory above ``limit`` tokens, from a call on."""
    found, calls = batches.micro_batches, [0]

    def limited(rollouts: Any, kept: Any, tokens: int, *rest: Any) -> Any:
        calls[0] += 1
        for number, batch in enumerate(found(rollouts, kept, tokens, *rest)):
            if calls[0] >= call and tokens > limit and number == 1:
                raise torch.OutOfMemoryError("no memory")
            yield batch

    monkeypatch.setattr(module, "micro_batches", limited)


def lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, **train: Any) -> Trainer:
    """A run that loses memory in its third call."""
    with monkeypatch.context() as patched:
        out_of_memory_in(patched, module, 3, GROUP)
        trainer = build(setting(tmp_path / "lost", short(micro_tokens=2 * GROUP, **train)))
        figures = steps_of(finish(trainer))
    assert figures[-1]["micro_tokens"] == GROUP
    assert all(values["skipped"] == 0 for values in figures)
    return trainer


@pytest.mark.parametrize(("module", "algorithm"), [(objectives, "grpo"), (objectives, "ppo"), (batches, "ppo")])
def test_a_run_that_ran_out_of_memory_is_repeated_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, algorithm: str
) -> None:
    first = lowered(tmp_path, monkeypatch, module, algorithm=algorithm)
    assert len(first.progress.smaller) == 1
    train = short(micro_tokens=2 * GROUP, algorithm=algorithm, smaller=first.progress.smaller)
    again = build(setting(tmp_path / "again", train))
    finish(again)
    assert same(everything(again), everything(first))
    assert again.progress.smaller == first.progress.smaller


def test_a_resumed_run_keeps_the_smaller_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lowered(tmp_path, monkeypatch, objectives)
    train = short(micro_tokens=2 * GROUP, smaller=whole.progress.smaller)
    for event in build(setting(tmp_path / "cut", train)).run():
        if isinstance(event, StepMetrics) and event.step == 3:
            break  # after the checkpoint at 2
    rest = build(setting(tmp_path / "cut", train))
    finish(rest)
    assert same(everything(rest), everything(whole))
    assert rest.budget.tokens == GROUP


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 6), limit=st.integers(1, 200), kept=st.permutations(range(3)), count=st.integers(1, 3))
def test_ranks_with_shards_make_equally_many_passes_and_share_the_groups(
    size: int, limit: int, kept: list[int], count: int
) -> None:
    chosen, passes, seen = kept[:count], set(), []
    for rank in range(size):
        batches = list(micro_batches(ROLLOUTS, chosen, limit, CPU, ranks=Ranks(rank, size, sharded=True)))
        passes.add(len(batches))
        seen += [c for batch in batches if not batch.padding for c in batch.completion.unique().tolist()]
    assert len(passes) == 1
    assert sorted(seen) == sorted(c for group in chosen for c in range(group * ROLLOUTS.k, (group + 1) * ROLLOUTS.k))


def test_a_rank_with_shards_that_runs_out_of_memory_ends_the_training() -> None:
    budget, (call, tried) = TokenBudget(1000, ranks=Ranks(1, 2, sharded=True)), fits(300)
    with pytest.raises(ModelError, match=r"rank 1 ran out of memory .*Lower train.micro_tokens \(now 1000\)"):
        budget.spend(call, 10)
    assert tried == [1000]
