"""Ranks over gloo train as one process does: the same gradients, figures and decisions."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from ratchet.components.errors import RanksDifferError
from ratchet.components.launch.ranks import Ranks
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import save_policy
from ratchet.components.policy.sharding import all_whole, sharded_reference
from ratchet.components.recipe import Train
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.training.actor import Actor
from ratchet.components.training.dev_evaluation import dev_evaluation
from ratchet.components.training.events import Committed
from ratchet.components.training.experience import Scored, build_experience
from ratchet.components.training.micro_batches import dealt
from ratchet.components.training.objectives import ActorObjective, UpdateBatch
from ratchet.components.training.rollouts import Rollouts
from ratchet.components.training.sharded_models import sharded_rewards
from ratchet.components.training.update import run_update
from tests.ranks import on_ranks
from tests.tiny_models import tiny_policy
from tests.training.rollouts import sampled
from tests.training.toy import ROWS, build, digits, everything, finish, setting, short

LIMIT = 8
REWARDS = [1.0, 0.0, 0.5, 0.0, 1.0, 0.25]
Made = tuple[list[torch.Tensor], dict[str, float]]


def twins(count: int) -> Rollouts:
    """Groups of equal length, so that a rank's micro-batch is one that a single process makes."""
    group, other = sampled(REWARDS, 3).groups
    return Rollouts([replace(group, scores=(group, other)[number % 2].scores) for number in range(count)])


def gradients(ranks: Ranks, count: int, micro_tokens: int, normaliser: str) -> Made:
    """The gradient of one minibatch, and its figures."""
    rollouts, train = twins(count), Train(kl="none", micro_tokens=micro_tokens, loss={"normaliser": normaliser})
    experience = build_experience(rollouts, Scored(), train, 0.0, LIMIT)
    actor = Actor(tiny_policy(), train, 0)
    found: list[torch.Tensor] = []

    class Kept(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            found.extend(p.grad.clone() for p in actor.parameters() if p.grad is not None)

    objective = ActorObjective(actor, UpdateBatch(rollouts, experience, train, LIMIT, 0.0, ranks))
    report = run_update(objective, Kept(actor.parameters(), 1.0), [range(count)], 1, 1e9, ranks=ranks)
    return found, report.figures.values()


@pytest.mark.parametrize("normaliser", ["token_mean", "sequence_mean"])
def test_two_ranks_have_the_gradient_of_two_micro_batches_to_the_bit(normaliser: str) -> None:
    tokens = twins(1).largest_group
    (one,) = on_ranks(1, gradients, 2, tokens, normaliser)
    for grads, figures in on_ranks(2, gradients, 2, tokens, normaliser):
        assert len(grads) == len(one[0]) > 0
        assert all(torch.equal(a, b) for a, b in zip(grads, one[0], strict=True))
        assert figures == one[1]


@pytest.mark.slow
def test_three_ranks_have_the_gradient_of_one_process_but_for_rounding() -> None:
    (one,) = on_ranks(1, gradients, 5, 16_384, "token_mean")
    for grads, figures in on_ranks(3, gradients, 5, 16_384, "token_mean"):
        assert_close(grads, one[0], rtol=1e-6, atol=1e-6)
        assert figures == pytest.approx(one[1], rel=1e-6, abs=1e-7)


def test_groups_are_dealt_by_their_tokens() -> None:
    groups = sampled(REWARDS + REWARDS[:3], 3).token_groups(range(3))
    for size in (1, 2, 3, 5):
        parts = [dealt(groups, [7, 8, 9], Ranks(rank, size)) for rank in range(size)]
        assert [number for part in parts for number in part] == [7, 8, 9]


RECIPES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "ppo": {"algorithm": "ppo", "kl": "reward"},
    "shared trunk": {"algorithm": "ppo", "critic": {"trunk": "shared", "sees": "tokens"}, "kl": "loss"},
    "adapter": {"lora": {"rank": 2, "alpha": 4}, "kl": "loss"},
    "two micro-batches on one rank": {"algorithm": "ppo", "kl": "loss", "micro_tokens": 32},
    "refills and top-p": {"sampling": {"refills": 2, "top_p": 0.9}, "loss": {"correction": "truncated"}},
}


def sharded(ranks: Ranks, root: Path, name: str) -> tuple[list[Mapping[str, float]], list[torch.Tensor]]:
    """The same with the weights in shards; whole at the end."""
    trainer = build(setting(root, short(**RECIPES[name]), ranks=replace(ranks, sharded=True)))
    figures = [dict(metrics.values) for metrics in finish(trainer)]
    return figures, [whole_tensor(tensor) for tensor in everything(trainer)]


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def trained(ranks: Ranks, root: Path, name: str, steps: int = 4) -> tuple[list[Mapping[str, float]], list[torch.Tensor]]:
    """A short run's figures, and all of its weights and moments."""
    trainer = build(setting(root, short(**RECIPES[name], steps=steps), ranks=ranks))
    return [dict(metrics.values) for metrics in finish(trainer)], everything(trainer)


def without_times(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: v for name, v in figures.items() if not name.startswith(("time/", "step_time", "tokens_per_second"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_of_two_ranks_is_the_run_of_one_process(tmp_path: Path, name: str) -> None:
    (one,) = on_ranks(1, trained, tmp_path / "one", name)
    first, second = on_ranks(2, trained, tmp_path / "two", name)
    assert len(first[0]) == len(one[0])
    for found, expected, other in zip(first[0], one[0], second[0], strict=True):
        assert without_times(found) == pytest.approx(without_times(expected), rel=2e-3, abs=2e-4)
        assert without_times(found) == without_times(other)
    assert_close(first[1], one[1], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_with_weights_in_shards_is_the_run_of_one_process(tmp_path: Path, name: str) -> None:
    (one,) = on_ranks(1, trained, tmp_path / "one", name)
    for figures, tensors in on_ranks(2, sharded, tmp_path / "two", name):
        for found, expected in zip(figures, one[0], strict=True):
            assert without_times(found) == pytest.approx(without_times(expected), rel=2e-3, abs=2e-4)
        assert_close(tensors, one[1], rtol=1e-3, atol=1e-4)


def resumed(ranks: Ranks, root: Path, in_shards: bool = False) -> tuple[bool, int, list[torch.Tensor]]:
    trainer = build(setting(root, short(), ranks=replace(ranks, sharded=in_shards)))
    finish(trainer)
    return trainer.progress.exact, trainer.progress.step, [whole_tensor(tensor) for tensor in everything(trainer)]


def interrupted(ranks: Ranks, root: Path, in_shards: bool = False) -> int:
    """Trains until a rank that is not the first is told to stop, after the first step; a single one stops there too."""
    alone = ranks.size == 1
    given = setting(root, short(), ranks=replace(ranks, sharded=in_shards), interrupted=lambda: alone or not ranks.first)
    events = [event for event in build(given).run() if isinstance(event, Committed)]
    return events[-1].step


@pytest.mark.slow
def test_another_number_of_ranks_resumes_and_the_run_is_no_longer_exact(tmp_path: Path) -> None:
    (whole,) = on_ranks(1, resumed, tmp_path / "whole")
    assert on_ranks(2, interrupted, tmp_path / "cut") == [1, 1]
    (one,) = on_ranks(1, resumed, tmp_path / "cut")
    assert (one[0], one[1]) == (False, 4)
    assert whole[0] is True
    assert_close(one[2], whole[2], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_same_number_of_ranks_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = on_ranks(2, resumed, tmp_path / "whole")
    on_ranks(2, interrupted, tmp_path / "cut")
    cut = on_ranks(2, resumed, tmp_path / "cut")
    assert cut[0][0] is True
    assert all(torch.equal(a, b) for a, b in zip(cut[0][2], whole[0][2], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [((2, True), (1, False)), ((1, False), (2, True)), ((2, True), (3, True))])
def test_shards_resume_on_other_ranks_and_whole(tmp_path: Path, before: tuple[int, bool], after: tuple[int, bool]) -> None:
    (expected,) = on_ranks(1, resumed, tmp_path / "whole")
    on_ranks(before[0], interrupted, tmp_path / "cut", before[1])
    for exact, step, tensors in on_ranks(after[0], resumed, tmp_path / "cut", after[1]):
        assert (exact, step) == (False, 4)
        assert_close(tensors, expected[2], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_shards_resume_to_the_same_bits_and_none_are_left_behind(tmp_path: Path) -> None:
    whole = on_ranks(2, resumed, tmp_path / "whole", True)
    on_ranks(2, interrupted, tmp_path / "cut", True)
    cut = on_ranks(2, resumed, tmp_path / "cut", True)
    assert cut[0][0] is True
    assert all(torch.equal(a, b) for a, b in zip(cut[0][2], whole[0][2], strict=True))
    assert sorted(path.name for path in (tmp_path / "cut").iterdir() if path.name.startswith(".")) == []


def drifting(ranks: Ranks, root: Path) -> str:
    """A rank's weights change a little after the start."""
    trainer = build(setting(root, short(), ranks=ranks))
    events = trainer.run()
    next(event for event in events if isinstance(event, Committed))
    if not ranks.first:
        next(trainer.actor.parameters()).data[0] += 1e-3
    try:
        for _ in events:
            pass
    except RanksDifferError as error:
        return str(error)
    return "not noticed"


@pytest.mark.slow
def test_a_rank_whose_weights_differ_ends_the_run_before_a_checkpoint(tmp_path: Path) -> None:
    assert all("differ between the ranks" in said for said in on_ranks(2, drifting, tmp_path))
    assert [path.name for path in sorted(tmp_path.glob("step_*"))] == ["step_000000"]


def short_of_memory(ranks: Ranks, root: Path) -> list[Mapping[str, float]]:
    """The second rank runs out of memory in its first minibatch."""
    trainer = build(setting(root, short(steps=2, epochs=1, prompts=4), ranks=ranks))
    forward, failed = trainer.actor.forward, []

    def once(*arguments: Any) -> Any:
        if ranks.rank == 1 and torch.is_grad_enabled() and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return forward(*arguments)

    trainer.actor.forward = once  # type: ignore[method-assign]
    return [dict(metrics.values) for metrics in finish(trainer)]


@pytest.mark.slow
def test_where_one_rank_runs_out_of_memory_all_take_smaller_micro_batches(tmp_path: Path) -> None:
    first, second = on_ranks(2, short_of_memory, tmp_path)
    assert [without_times(figures) for figures in first] == [without_times(figures) for figures in second]
    assert first[1]["micro_tokens"] == 8192
    assert first[1]["mismatch/log_prob_mean_abs"] < 1e-5


def evaluated(ranks: Ranks) -> dict[str, float]:
    reference = sharded_reference(tiny_policy(seed=1)) if ranks.size > 1 else Reference(tiny_policy(seed=1))
    draws = SamplingSettings(1, 4), SamplingSeed(1, "dev")
    return dict(dev_evaluation(ROWS[:1], digits, reference, *draws, gold=digits, ranks=ranks)(tiny_policy()).figures)


@pytest.mark.slow
def test_a_rank_without_a_dev_item_gathers_the_reference_for_the_others() -> None:
    assert on_ranks(2, evaluated) == on_ranks(1, evaluated) * 2


def paid_by_a_model(ranks: Ranks, root: Path, trunk: Path) -> tuple[list[dict[str, float]], bool]:
    """A run paid by a reward model in shards, two prompts per step on three ranks; and whether shards are left at the end."""
    model = RewardModel.from_trunk(trunk, 1, torch.device("cpu"))
    modules = sharded_rewards(model) if ranks.size > 1 else []
    given = {"reward": model, "rewarding": partial(all_whole, modules)}
    trainer = build(setting(root, short(steps=2, prompts=2), ranks=replace(ranks, sharded=ranks.size > 1), **given))
    figures = [without_times(metrics.values) for metrics in finish(trainer)]
    return figures, all(isinstance(p, DTensor) for module in modules for p in module.parameters())


@pytest.mark.slow
def test_a_reward_model_in_shards_pays_as_a_whole_one_also_for_a_rank_without_a_prompt(tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "trunk")
    ((expected, _),) = on_ranks(1, paid_by_a_model, tmp_path / "one", tmp_path / "trunk")
    for found, in_shards in on_ranks(3, paid_by_a_model, tmp_path / "three", tmp_path / "trunk"):
        assert in_shards
        assert [f.get("reward") for f in found] == pytest.approx([e.get("reward") for e in expected], abs=1e-5)
