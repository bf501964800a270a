"""Trainings by two ranks of torchrun on the CPU: what they make is what one process makes, and what can go wrong does."""

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.errors import ModelError, PausedError, RankError
from ratchet.components.launch.job import Job
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.files import read_json
from tests.launch.runs import LONG, TORCHRUN, in_a_process, job_of, listening, reported, wait_for_step, wait_until
from tests.stages.by_hand import watching
from tests.stages.tiny_training import Training

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the ranks: other numbers of threads add up in another order."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def process_of(job: Job, rank: int) -> int:
    wait_until(lambda: len(job.beats()) == 2)
    return job.beats()[rank].process.pid


def close(made: TrainStage, other: TrainStage) -> bool:
    """Whether the figures that do not depend on time agree to the last bits."""
    names = ("reward", "loss", "kl", "eval_sampled_accuracy", "entropy", "completions/mean_length")
    return all(
        step == at and all(values.get(name, 0.0) == pytest.approx(others.get(name, 0.0), abs=1e-5) for name in names)
        for (step, values), (at, others) in zip(made.points, other.points, strict=True)
    )


@pytest.mark.parametrize("weights", ["replicated", "sharded"])
def test_two_ranks_make_what_one_process_makes(training: Training, tmp_path: Path, weights: str) -> None:
    context = training.context("train.steps=4", TORCHRUN, f"launch.weights={weights}")
    made = training.run(context)
    alone = Training(tmp_path / "alone")
    expected = alone.run(alone.context("train.steps=4"))
    assert made.key == expected.key
    assert made.facts.launch == {"kind": "torchrun", "ranks": 2, "sharded": weights == "sharded"}
    assert replace(made.facts, launch=None) == expected.facts
    assert made.environment is not None
    assert made.environment == expected.environment
    assert "launch" not in (expected.path / "facts.json").read_text()
    assert close(made, expected)
    assert {name for name in made.files if "metrics" not in name} == {name for name in expected.files if "metrics" not in name}
    seen = watching(context)
    assert [step for step, _ in seen.points] == [step for step, _ in made.points]
    assert seen.steps[-1] == ("train", 4, 4)
    assert seen.tables == [1, 2, 3, 4]
    assert not context.store.work("train", made.key).exists()


def test_nothing_of_one_machine_listens_to_others(training: Training) -> None:
    heard = set[str]()

    def look() -> str | None:
        if len(job_of(training).beats()) == 2:
            heard.update(listening(job_of(training)))
        return None

    training.run(replace(training.context(TORCHRUN, "train.steps=2"), pause=look))
    assert heard == {"127.0.0.1"}


def test_a_second_node_joins_by_the_command_that_the_run_shows(training: Training) -> None:
    context = training.context("launch={kind: torchrun, workers: 2, nodes: 2, address: 'localhost:29713'}", "train.steps=2")
    shown, joined = watching(context), list[subprocess.Popen[bytes]]()

    def join() -> str | None:
        if not joined and job_of(training).launcher is not None:
            _, _, command = shown.notes[0].partition("run: ")
            assert command.startswith("python -P -m ")
            joined.append(subprocess.Popen([sys.executable, *shlex.split(command.replace("NODE", "1"))[1:]]))
        return None

    made = training.run(replace(context, pause=join))
    assert made.facts.launch == {"kind": "torchrun", "ranks": 2, "sharded": False}
    assert joined[0].wait(60) == 0


def test_an_error_of_ours_is_the_same_as_in_one_process(training: Training) -> None:
    with pytest.raises(ModelError, match=r"policy\.max_new_tokens=127 .* context of 128"):
        training.run(training.context(TORCHRUN, "policy.max_new_tokens=127"))


def test_a_job_whose_run_was_killed_is_found_again_and_tells_each_figure_once(training: Training) -> None:
    first = in_a_process(training, TORCHRUN, *LONG)
    job = job_of(training)
    wait_for_step(job, 4)
    first.kill()
    first.wait()
    launcher = job.launcher
    again = training.context(TORCHRUN, *LONG)
    assert launcher is not None
    assert launcher.found() is not None
    made = training.run(again)
    assert made.facts.steps == 24
    assert made.facts.exact
    seen = watching(again)
    told = [step for step, _ in [*seen.repeated, *seen.points]]
    steps = [step for step, _ in made.points]
    assert told == steps[len(steps) - len(told) :]  # the end of training, each figure once
    assert told[0] > 0  # what the killed run told does not come again, but for the last
    assert launcher.found() is None


def test_a_run_that_is_to_end_for_now_commits_and_resumes_with_any_number_of_ranks(training: Training, tmp_path: Path) -> None:
    run = in_a_process(training, TORCHRUN, *LONG)
    job = job_of(training)
    wait_for_step(job, 2)
    run.send_signal(signal.SIGTERM)
    _, text = run.communicate(timeout=60)
    assert b"PausedError: training was interrupted after a checkpoint" in text
    assert all(process.found() is None for process in job.processes())
    assert job.paused is not None
    before = reported(training)
    resumed = training.context(*LONG)  # in one process
    made = training.run(resumed)
    alone = Training(tmp_path / "alone")
    assert close(made, alone.run(alone.context(*LONG)))
    assert watching(resumed).points[0][0] == max(before) + 1
    assert made.facts.exact is False  # another number of ranks adds up in another order


def test_an_interrupted_run_leaves_no_process(training: Training) -> None:
    run = in_a_process(training, TORCHRUN, *LONG)
    job = job_of(training)
    wait_for_step(job, 2)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert len(job.processes()) == 3
    assert all(process.found() is None for process in job.processes())


def test_a_killed_rank_is_named_and_the_next_run_resumes(training: Training) -> None:
    run = in_a_process(training, TORCHRUN, *LONG)
    job = job_of(training)
    wait_for_step(job, 2)
    os.kill(process_of(job, 1), signal.SIGKILL)
    _, text = run.communicate(timeout=90)
    assert b"RankError: rank 1 (process" in text
    assert b"was killed by SIGKILL in the phase" in text
    assert all(process.found() is None for process in job.processes())
    again = training.context(TORCHRUN, *LONG)
    assert training.run(again).facts.steps == 24
    assert watching(again).repeated  # it began from a checkpoint


def test_a_stopped_rank_is_found_by_its_heartbeat(training: Training) -> None:
    stopped: list[int] = []
    context = training.context(TORCHRUN, *LONG, "limits.silence_seconds=4")

    def stop_one() -> str | None:
        job = job_of(training)
        if not stopped and any(job.folder.parent.glob("step_*")):
            stopped.append(process_of(job, 1))
            os.kill(stopped[0], signal.SIGSTOP)
        return None

    with pytest.raises(RankError, match=r"rank 1 \(process \d+ on .*\) was silent for \d s in the phase .*1\.log.* resume"):
        training.run(replace(context, pause=stop_one))
    assert all(process.found() is None for process in job_of(training).processes())


def test_a_pause_of_the_run_ends_the_ranks(training: Training) -> None:
    def asked() -> str | None:
        return "ann asked" if any(training.place.glob(".ratchet/store/train/.work.*/step_*")) else None

    with pytest.raises(PausedError, match="interrupted after a checkpoint"):
        training.run(replace(training.context(TORCHRUN, *LONG), pause=asked))
    with pytest.raises(PausedError, match=r"limits\.samples"):
        training.run(training.context(TORCHRUN, *LONG, "limits.samples=1"))


def test_a_run_in_its_own_process_ends_the_ranks_that_a_killed_run_left(training: Training) -> None:
    run = in_a_process(training, *LONG, TORCHRUN)
    job = job_of(training)
    wait_until(lambda: (job.folder.parent / "reported.json").exists())
    run.kill()
    run.wait()
    launcher = job.launcher
    assert launcher is not None
    assert launcher.found() is not None
    told = read_json(job.folder.parent / "reported.json")  # by the killed run
    alone = training.context(*LONG)
    made = training.run(alone)
    assert launcher.found() is None
    seen = watching(alone)
    assert set(range(told, 25)) <= {step for step, _ in [*seen.repeated, *seen.points]}  # what the ranks made unseen too
    assert (made.facts.steps, made.facts.launch) == (24, None)
    assert [step for step, values in made.points if "reward" in values] == list(range(1, 25))  # each once
