"""Running out of memory: half the tokens, the same update, and a record that repeats it to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ratchet.components.training.batches as batches
import ratchet.components.training.objectives as objectives
from ratchet.components.errors import ModelError
from ratchet.components.training.budget import TokenBudget
from ratchet.components.training.loop import StepMetrics, Trainer
from tests.tiny_models import same
from tests.training.toy import build, everything, finish, setting, short, steps_of

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
