"""A run whose process is dead is marked and swept; one that may be alive is left alone, however old it is."""

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import ClaimLostError, RegistryError
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks, lock_name
from ratchet.components.storage.files import write_text
from ratchet.components.storage.home import Home
from ratchet.components.upkeep import unsent
from ratchet.components.upkeep.killed import end_killed_runs
from tests.run.runs import FakeTracker

IDENTITY = "ab" * 32
NAME = lock_name(IDENTITY)
DEAD_PID = 2**22 + 1  # above the highest that Linux gives


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(unsent, "open_tracker", lambda *_: tracker)
    tracker.status.clear()
    return Home(tmp_path, tmp_path / ".ratchet")


tracker = FakeTracker()


def begun(home: Home, place: str | None = None, run_id: str = "r1") -> tuple[Ledger, Claim]:
    """A run that a process of this machine began, or one at another place; its lock is free."""
    ledger, locks = Ledger(home.ledger), Locks(home.locks)
    with locks.working(NAME, "waiting"):
        here = locks.place(NAME)
    claim = acquired(ledger, IDENTITY, place or here, lambda *_: None)
    ledger.begin_run(IDENTITY, "micro", run_id)
    return ledger, claim


def said(home: Home) -> str:
    lines: list[str] = []
    end_killed_runs(home, lines.append)
    assert len(lines) <= 1
    return "".join(lines)


def status(ledger: Ledger) -> str:
    return str(ledger.latest_runs()[0]["status"])


def test_faults_a_killed_run_is_marked_in_the_ledger_and_in_mlflow_once_and_can_be_resumed(home: Home) -> None:
    ledger, claim = begun(home)
    assert "run r1 of micro was killed" in said(home)
    assert status(ledger) == "killed"
    assert tracker.status["r1"].startswith(f"KILLED: process {os.getpid()} on ")
    assert ledger.open_run(IDENTITY) == "r1"
    assert said(home) == ""
    with pytest.raises(ClaimLostError):  # if it was only paused, it decides nothing more
        claim.confirm()


def test_a_run_whose_process_holds_its_lock_is_alive(home: Home) -> None:
    ledger, _ = begun(home)
    with Locks(home.locks).working(NAME, "waiting"):
        assert said(home) == ""
    assert (status(ledger), tracker.status) == ("running", {})


def test_a_run_on_another_machine_is_left_alone_however_silent_it_is(home: Home) -> None:
    ledger, claim = begun(home, place="another machine")
    assert said(home) == ""
    assert status(ledger) == "running"
    claim.confirm()


def test_a_run_that_ended_without_a_word_is_dead_wherever_it_was(home: Home) -> None:
    ledger, claim = begun(home, place="another machine")
    claim._release()  # whoever holds no claim does nothing
    assert "was killed" in said(home)
    assert status(ledger) == "killed"


def test_a_run_that_was_killed_before_it_recorded_anything_frees_its_claim(home: Home) -> None:
    ledger, _ = begun(home)
    ledger.finish_run(IDENTITY, {"status": "promoted"})
    assert "before its run had recorded anything" in said(home)
    assert ledger.unended() == {}


def test_a_run_that_mlflow_could_not_be_told_of_is_not_called_running(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any) -> None:
        raise RegistryError("no route to host")

    ledger, _ = begun(home)
    monkeypatch.setattr(unsent, "open_tracker", down)
    assert "which MLflow has yet to be told: no route to host" in said(home)
    assert status(ledger) == "killed"


def scratch(parent: Path, pid: int) -> Path:
    path = parent / f".tmp.key.{platform.node() or 'localhost'}.{pid}.0123abcd"
    write_text(path / "half", "x" * 1000)
    return path


def test_what_dead_processes_left_is_deleted_and_what_can_be_resumed_is_kept(home: Home) -> None:
    store = home.store
    dead = [scratch(store / "train", DEAD_PID), scratch(store / "warmup" / ".work.other" / "environment", DEAD_PID)]
    alive = scratch(store / "train", os.getpid())
    write_text(store / "train" / "done" / "manifest.json", "{}")
    for key in ("done", "other"):
        write_text(store / "train" / f".work.{key}" / "step_000001" / "state.json", "{}")
    assert said(home) == "deleted 3 leftovers of killed processes, 0.0 MB"
    assert [path for path in dead if path.exists()] == []
    assert alive.exists()
    assert [path.name for path in (store / "train").glob(".work.*")] == [".work.other"]


def test_nothing_is_deleted_while_a_run_is_in_progress(home: Home) -> None:
    left = scratch(home.store / "train", DEAD_PID)
    with Locks(home.locks).working("another", "waiting"):
        assert said(home) == ""
    assert left.exists()


def test_a_flow_run_is_past_once_its_claim_is_released_or_taken_over(home: Home) -> None:
    ledger, claim = begun(home)
    ledger.note_flow_run("f1", IDENTITY, claim.token)
    assert ledger.past_flow_runs() == []
    said(home)
    assert ledger.past_flow_runs() == ["f1"]
    ledger.forget_flow_run("f1", claim.token + 1)  # by a process that lost the claim to the one which noted it
    assert ledger.past_flow_runs() == ["f1"]
    ledger.forget_flow_run("f1", claim.token)
    assert ledger.past_flow_runs() == []


def test_a_run_on_another_machine_that_is_watched_is_dead_once_its_claim_has_expired(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_CLAIM_SECONDS", "1")
    ledger, _ = begun(home, place="before the restart")
    ledger.note_flow_run("f1", IDENTITY, 1)
    assert ledger.flow_runs_at_work() == {"f1": IDENTITY}
    lines: list[str] = []
    end_killed_runs(home, lines.append, watch=[IDENTITY])
    assert "run r1 of micro was killed" in "".join(lines)
    assert (status(ledger), ledger.flow_runs_at_work(), ledger.past_flow_runs()) == ("killed", {}, ["f1"])


def test_one_that_renews_its_claim_is_alive_and_is_watched_no_longer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_CLAIM_SECONDS", "5")
    ledger, claim = begun(home, place="another machine")
    lines: list[str] = []
    with claim.kept():  # every half second
        end_killed_runs(home, lines.append, watch=[IDENTITY])
        assert ["watching whether it is alive, for at most 5 s" in line for line in lines] == [True]
        assert status(ledger) == "running"
