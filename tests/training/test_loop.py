"""The whole loop on a toy task: a tiny random policy is rewarded for writing digits."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from components.policy.loading import Policy
from components.recipe import Train
from components.rewards.protocol import Score
from components.training.loop import Committed, Setting, StepMetrics, Trainer, training_history
from tests.tiny_models import moments, same, tiny_policy, weights

ROWS = [{"id": f"{i:x}", "prompt": f"{i} apples", "answer": str(i)} for i in range(8)]
SHORT = Train(steps=6, prompts=3, k=4, lr=3e-3, critic_warmup_steps=2, evaluate_every=2, epochs=2, keep_checkpoints=2)
VARIANTS = {
    "grpo": SHORT,
    "ppo": SHORT.model_copy(update={"algorithm": "ppo"}),
    "grpo with kl in the loss": SHORT.model_copy(update={"kl": "loss"}),
    "ppo with kl in the reward": SHORT.model_copy(update={"algorithm": "ppo", "kl": "reward"}),
}


def digits(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """The share of a completion's characters that are ASCII digits."""
    return [Score(sum(c in "0123456789" for c in text) / max(1, len(text)), {}) for text in completions]


def weight_score(policy: Policy) -> dict[str, float]:
    """Any figure in (0, 1) that depends on nothing but the weights."""
    return {"eval_sampled_accuracy": float(sum(p.detach().double().sum() for p in policy.model.parameters()).sigmoid())}


def setting(checkpoints: Path, train: Train = SHORT) -> Setting:
    return Setting(train, 7, ROWS, 6, digits, weight_score, checkpoints)


def build(given: Setting) -> Trainer:
    return Trainer(tiny_policy(), tiny_policy() if given.train.kl != "none" else None, given)


def finish(trainer: Trainer) -> list[StepMetrics]:
    return [event for event in trainer.run() if isinstance(event, StepMetrics)]


def everything(trainer: Trainer) -> list[torch.Tensor]:
    """Weights and moments of every module."""
    pairs = trainer.modules.values()
    return [t for module, optimizer in pairs for t in [*weights(module), *moments(optimizer)]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bitwise comparisons with a child process, and small matrices are quickest so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_run_ends_bitwise_where_an_uninterrupted_one_does(tmp_path: Path, variant: str) -> None:
    whole = build(setting(tmp_path / "whole", VARIANTS[variant]))
    finish(whole)
    for event in build(setting(tmp_path / "cut", VARIANTS[variant])).run():
        if isinstance(event, StepMetrics) and event.step == 5:
            break  # a step after the checkpoint at 4: it is lost and done again
    rest = build(setting(tmp_path / "cut", VARIANTS[variant]))
    assert [metrics.step for metrics in finish(rest)] == [5, 6, 6]
    assert same(everything(rest), everything(whole))
    assert rest.progress == whole.progress


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = build(setting(tmp_path))
    finish(first)
    again = build(setting(tmp_path))
    assert list(again.run()) == []
    assert same(everything(again), everything(first))


def test_the_seed_decides_the_run(tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate((7, 7, 8)):
        trainer = build(replace(setting(tmp_path / str(number)), seed=seed))
        finish(trainer)
        results.append(everything(trainer))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_history_of_a_resumed_run_is_that_of_a_whole_one(tmp_path: Path) -> None:
    finish(build(setting(tmp_path / "whole")))
    events = build(setting(tmp_path / "cut")).run()
    next(event for event in events if isinstance(event, StepMetrics) and event.step == 3)
    finish(build(setting(tmp_path / "cut")))
    whole, cut = (
        [(step, {k: v for k, v in values.items() if not k.endswith("_time")}) for step, values in training_history(path)]
        for path in (tmp_path / "whole", tmp_path / "cut")
    )
    assert cut == whole
    assert [step for step, _ in whole] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]  # even steps are evaluated as well


def test_figures_come_before_the_checkpoint_that_covers_them(tmp_path: Path) -> None:
    events = [(type(event).__name__, event.step) for event in build(setting(tmp_path)).run()]
    assert events[:2] == [("StepMetrics", 0), ("Committed", 0)]
    assert [step for name, step in events if name == "Committed"] == [0, 2, 4, 6]
    assert events[-1] == ("Committed", 6)


def test_the_last_step_is_evaluated_even_between_evaluations(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path, SHORT.model_copy(update={"steps": 3})))
    assert [event.step for event in trainer.run() if isinstance(event, Committed)] == [0, 2, 3]


def test_the_best_policy_is_that_of_the_best_evaluation(tmp_path: Path) -> None:
    scores, seen = iter([0.1, 0.9, 0.9, 0.3]), []

    def evaluate(policy: Policy) -> dict[str, float]:
        seen.append(weights(policy.model))
        return {"eval_sampled_accuracy": next(scores)}

    trainer = build(replace(setting(tmp_path), evaluate=evaluate))
    finish(trainer)
    assert trainer.progress.best_step == 2  # the earliest of equals
    assert same(weights(trainer.best_policy().model), seen[1])
    assert len(list(tmp_path.glob("step_*"))) == 3  # the newest two, and the best


def test_equal_rewards_leave_the_weights_as_they_were(tmp_path: Path) -> None:
    def constant(prompts, completions, rows):  # type: ignore[no-untyped-def]
        return [Score(0.35, {}) for _ in completions]

    trainer = build(replace(setting(tmp_path), reward=constant))
    before = weights(trainer.policy.model)
    figures = finish(trainer)
    assert same(weights(trainer.policy.model), before)
    assert figures[1].values["frac_reward_zero_std"] == 1


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_missing_rewards_train_nothing(tmp_path: Path, algorithm: str) -> None:
    def missing(prompts, completions, rows):  # type: ignore[no-untyped-def]
        return [Score(None, {}) for _ in completions]

    train = SHORT.model_copy(update={"algorithm": algorithm})
    trainer = build(replace(setting(tmp_path, train), reward=missing))
    before = everything(trainer)
    assert finish(trainer)[1].values["frac_reward_missing"] == 1
    assert same(weights(trainer.policy.model), before[: len(weights(trainer.policy.model))])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_with_some_missing_rewards_stays_finite(tmp_path: Path, variant: str) -> None:
    def sometimes(prompts, completions, rows):  # type: ignore[no-untyped-def]
        return [Score(None if i % 3 == 0 else s.total, {}) for i, s in enumerate(digits(prompts, completions, rows))]

    figures = finish(build(replace(setting(tmp_path, VARIANTS[variant]), reward=sometimes)))
    assert figures[1].values["frac_reward_missing"] == pytest.approx(1 / 3)
    assert all(torch.tensor(list(metrics.values.values())).isfinite().all() for metrics in figures)


def test_a_policy_that_stays_near_its_start_is_what_kl_in_the_loss_buys(tmp_path: Path) -> None:
    def distance(name: str, **values: object) -> float:
        trainer = build(setting(tmp_path / name, SHORT.model_copy(update={"steps": 10, "epochs": 1, **values})))
        finish(trainer)
        start = weights(tiny_policy().model)
        return sum(float((a - b).abs().sum()) for a, b in zip(weights(trainer.policy.model), start, strict=True))

    assert distance("near", kl="loss", kl_coefficient=100.0) < distance("free")


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_the_reward_rises(tmp_path: Path, algorithm: str) -> None:
    train = Train(
        algorithm=algorithm, steps=40, prompts=4, k=8, lr=2e-2, critic_lr=1e-2, critic_warmup_steps=3, evaluate_every=40
    )
    rewards = [m.values["reward"] for m in finish(build(setting(tmp_path, train))) if "reward" in m.values]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3


def test_ppo_leaves_the_policy_alone_while_its_critic_warms_up(tmp_path: Path) -> None:
    train = SHORT.model_copy(update={"algorithm": "ppo", "steps": 2})
    trainer = build(setting(tmp_path, train))
    before, critic = weights(trainer.policy.model), weights(trainer.critic)
    finish(trainer)
    assert same(weights(trainer.policy.model), before)
    assert not same(weights(trainer.critic), critic)


def test_the_learning_rate_decays_to_a_tenth(tmp_path: Path) -> None:
    train = SHORT.model_copy(update={"steps": 20, "evaluate_every": 20, "epochs": 1})
    rates = [m.values["learning_rate"] for m in finish(build(setting(tmp_path, train))) if "learning_rate" in m.values]
    assert rates == pytest.approx([3e-3 * max(0.1, 1 - step / 20) for step in range(20)])


def test_three_gradients_in_a_row_that_are_not_finite_stop_the_run(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path))
    before = weights(trainer.policy.model)
    next(trainer.policy.model.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    figures = finish(trainer)
    assert (trainer.progress.step, trainer.progress.stopped) == (3, "nonfinite")
    assert [m.values["skipped"] for m in figures if "skipped" in m.values] == [2, 2, 2]  # both passes
    assert same(weights(trainer.policy.model), before)


def test_a_stopped_run_stays_stopped_when_it_is_resumed(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path))
    next(trainer.policy.model.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    finish(trainer)
    again = build(setting(tmp_path))
    assert list(again.run()) == []
    assert again.progress.stopped == "nonfinite"


def test_a_policy_that_has_turned_into_nan_is_stopped_in_an_orderly_way(tmp_path: Path) -> None:
    trainer, calls = build(setting(tmp_path, SHORT.model_copy(update={"evaluate_every": 20}))), []

    def poisoning(prompts, completions, rows):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            next(trainer.policy.model.parameters()).data.fill_(torch.nan)
        return digits(prompts, completions, rows)

    trainer.setting = replace(trainer.setting, reward=poisoning, evaluate=lambda _: {"eval_sampled_accuracy": 0.0})
    finish(trainer)
    assert trainer.progress.stopped == "nonfinite"
    assert trainer.progress.best_step == 0


KILLED_RUNS = """
    import os, sys
    from pathlib import Path
    import torch
    from tests.training.test_loop import VARIANTS, build, finish, setting

    torch.set_num_threads(1)
    finish(build(setting(Path(sys.argv[1]) / "first", VARIANTS["ppo"])))  # what is imported late, is imported once
    for point in map(int, sys.argv[2:]):
        if os.fork() == 0:
            os.environ["RATCHET_KILL_AT"] = str(point)
            finish(build(setting(Path(sys.argv[1]) / str(point), VARIANTS["ppo"])))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
# The points of a run: 3 in the first save, 1 in each step (4, 5), 3 in the save after step 2 (6, 7, 8), and so on.
# After its rename, at the last point of a save, the checkpoint is there.
KILLED_AT = {2: 0, 5: 1, 6: 1, 7: 1, 8: 3, 10: 3}  # point -> first step that the resumed run reports


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of runs that were killed at the points above."""
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", textwrap.dedent(KILLED_RUNS), str(root), *map(str, KILLED_AT)]
    child = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert [int(line) for line in child.stdout.split()] == [-9] * len(KILLED_AT)
    return root


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> list[torch.Tensor]:
    """Weights and moments of the run that nobody killed."""
    torch.set_num_threads(1)
    whole = build(setting(tmp_path_factory.mktemp("whole"), VARIANTS["ppo"]))
    finish(whole)
    return everything(whole)


@pytest.mark.slow
@pytest.mark.parametrize("point", KILLED_AT)
def test_a_killed_run_goes_on_to_the_same_weights(killed_runs: Path, whole_run: list[torch.Tensor], point: int) -> None:
    resumed = build(setting(killed_runs / str(point), VARIANTS["ppo"]))
    assert finish(resumed)[0].step == KILLED_AT[point]
    assert same(everything(resumed), whole_run)
