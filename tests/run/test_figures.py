"""Figures leave by a thread: what MLflow does, and does not, is never waited for by the run."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import UnansweredError
from ratchet.components.registry import journal
from ratchet.components.run import figures
from ratchet.components.run.record import Run
from tests.run.runs import FakeTracker, new_run, tracker_of


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(figures, "GATHERED", 0.0)
    return new_run(tmp_path)


class Away(FakeTracker):
    """MLflow that does not answer until ``back``; it refuses, or ``hangs``."""

    def __init__(self, hangs: bool = False) -> None:
        super().__init__()
        self.back, self.hangs, self.asked = threading.Event(), hangs, threading.Event()

    def open_run(self, *values: Any, **named: Any) -> str:
        self.asked.set()
        if self.hangs:
            self.back.wait(30)
        elif not self.back.is_set():
            raise ConnectionError("refused")
        return super().open_run(*values, **named)


def away(run: Run, hangs: bool = False) -> Away:
    run.project.__dict__["tracker"] = found = Away(hangs)
    return found


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def train(run: Run) -> None:
    with run.child("train"):
        for step in range(3):
            run.observer.metrics("train", [(step, {"reward": float(step)})])


def test_a_thread_sends_and_leaves_no_file(run: Run) -> None:
    with run.figures.being_sent():
        train(run)
        run.figures.end(None, "FINISHED")
    tracker = tracker_of(run)
    assert tracker.logged == {"run0/train": {"reward": 2.0}}
    assert tracker.status == {"run0/train": "FINISHED", "run0": "FINISHED"}
    assert list(run.project.home.journals.iterdir()) == []


def test_figures_that_were_recorded_are_not_logged_twice(run: Run) -> None:
    tracker = tracker_of(run)
    run.begin()
    run.observer.metrics("train", [(1, {"reward": 1.0})])
    run.observer.resumed("train", [(1, {"reward": 2.0, "kl": 0.5})])
    run.figures.send()
    assert tracker.logged == {"run0/train": {"reward": 1.0, "kl": 0.5}}


def test_a_run_that_records_nothing_does_not_touch_mlflow(run: Run) -> None:
    tracker = away(run)
    with run.figures.being_sent():
        pass
    assert not tracker.asked.is_set()
    assert not run.project.home.journals.exists()


@pytest.mark.parametrize("hangs", [False, True])
def test_faults_training_and_its_end_do_not_wait_for_an_mlflow_that_is_away(
    run: Run, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "CLOSE_SECONDS", 0.3)
    tracker = away(run, hangs)
    with at_most(2), run.figures.being_sent():
        train(run)
        tracker.asked.wait(5)
    assert run.figures.journal.file.exists()
    tracker.back.set()
    tracker.hangs = False
    run.figures.send()
    assert tracker.logged == {"run0/train": {"reward": 2.0}}


def test_the_operator_does_not_wait_for_what_is_unsent(run: Run) -> None:
    tracker = away(run, hangs=True)

    def interrupted() -> None:
        with run.figures.being_sent():
            train(run)
            tracker.asked.wait(5)
            raise KeyboardInterrupt

    with at_most(2), pytest.raises(KeyboardInterrupt):
        interrupted()
    tracker.back.set()


def test_a_run_begins_without_mlflow_under_an_id_of_its_own_and_gets_mlflows_later(run: Run) -> None:
    tracker = away(run)
    run.begin()
    ours = run.begun
    assert ours is not None and len(ours) == 32
    with pytest.raises(ConnectionError):
        run.figures.send()
    assert run.ledger.running(run.identity)["run_id"] == ours  # type: ignore[index]
    tracker.back.set()
    assert run.open() == "run0" == run.begun
    assert [row["run_id"] for row in run.ledger.latest_runs()] == ["run0"]


def test_faults_a_run_killed_without_mlflow_is_the_same_run_when_resumed(run: Run, tmp_path: Path) -> None:
    away(run)
    train(run)
    ours = run.begun
    resumed = new_run(tmp_path)  # the killed process had sent nothing
    assert resumed.begun == ours
    train(resumed)
    assert resumed.open() == "run0"
    assert set(tracker_of(resumed).names) == {ours}  # asked for twice by the same id, made once
    assert len(resumed.ledger.latest_runs()) == 1


def test_what_needs_mlflow_ends_the_run_after_the_limit_and_leaves_it_open(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", "0")
    away(run)
    with pytest.raises(UnansweredError, match="the same command resumes the run"):
        run.open()
    assert run.ledger.open_run(run.identity) is not None


@pytest.fixture
def impatient(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said while somebody else holds the journal."""
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.05)
    said: list[str] = []
    monkeypatch.setattr(run.figures.connection, "say", said.append)
    return said


def test_the_run_waits_for_its_own_thread_and_does_not_call_that_an_outage(run: Run, impatient: list[str]) -> None:
    tracker = away(run, hangs=True)
    with run.figures.being_sent():
        train(run)
        tracker.asked.wait(5)
        threading.Timer(0.5, tracker.back.set).start()
        assert run.open() == "run0"
    assert [text.partition(":")[0] for text in impatient] == ["waiting until MLflow has the run's figures"]


def test_who_holds_the_journal_and_sends_nothing_is_not_waited_for_without_end(
    run: Run, impatient: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", "0.2")
    with run.figures.journal.sending(), pytest.raises(UnansweredError, match=r"is sending .*, but nothing for 0 s"):
        run.open()


def test_a_journal_that_is_taken_away_in_mid_run_begins_again(run: Run) -> None:
    train(run)
    run.open()
    run.figures.journal.file.unlink()
    run.observer.metrics("train", [(9, {"reward": 9.0})])
    run.figures.send()
    assert tracker_of(run).logged == {"run0/train": {"reward": 9.0}}
    assert set(tracker_of(run).names.values()) == {"run0"}
