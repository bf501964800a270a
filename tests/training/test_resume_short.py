"""The kill campaign of warm-up and reward-model training: a resumed one ends bitwise where an uninterrupted one does."""

import multiprocessing
import multiprocessing.process
import signal
import time
from pathlib import Path

import pytest

from tests.training.short_runs import TRAININGS, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.short_runs"])
POINTS = (2, 9, 13)  # of three in a commit: manifest, rename and files, of steps 1, 3 and 5


def start(name: str, root: Path, kill_at: int | None = None) -> multiprocessing.process.BaseProcess:
    process = PROCESSES.Process(target=train, args=(name, root, None if kill_at is None else str(kill_at)))
    process.start()
    return process


def run(name: str, root: Path, kill_at: int | None = None) -> int | None:
    process = start(name, root, kill_at)
    process.join(120)
    return process.exitcode


def outcome(root: Path) -> str:
    return (root / "outcome.json").read_text(encoding="utf-8")


def computed(root: Path) -> int:
    """Steps computed, by all processes and members."""
    return sum(len(log.read_text().split()) for log in root.rglob("steps.log"))


@pytest.mark.parametrize("name", TRAININGS)
def test_faults_a_training_that_was_killed_ends_where_an_uninterrupted_one_does(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert run(name, whole) == 0
    for point in POINTS:
        root = tmp_path / str(point)
        assert run(name, root, kill_at=point) == -signal.SIGKILL
        assert not (root / "outcome.json").exists()
        assert run(name, root) == 0
        assert outcome(root) == outcome(whole), f"killed at point {point}"
        assert computed(root) <= computed(whole) + 1, f"killed at point {point}"  # the step that was not durable


@pytest.mark.parametrize("name", ["warm-up", "reward"])
def test_faults_sigterm_commits_the_step_at_hand(name: str, tmp_path: Path) -> None:
    whole, root = tmp_path / "whole", tmp_path / "terminated"
    assert run(name, whole) == 0
    process = start(name, root)
    while process.is_alive() and not computed(root):
        time.sleep(0.002)
    process.terminate()
    process.join(120)
    assert process.exitcode in (-signal.SIGTERM, 0)  # 0: too late
    assert run(name, root) == 0
    assert outcome(root) == outcome(whole)
