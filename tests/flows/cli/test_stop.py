"""``ratchet stop``: whom it asks, and that it fails where nobody can stop."""

import getpass
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks, lock_name
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app

IDENTITY = "ab" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Home.here()


def begun(home: Home, place: str) -> Claim:
    ledger = Ledger(home.ledger)
    claim = acquired(ledger, IDENTITY, place, lambda *_: None)
    ledger.begin_run(IDENTITY, "micro", "abc123")
    return claim


def test_a_run_on_another_machine_is_asked_through_the_ledger(home: Home) -> None:
    claim = begun(home, "another machine")
    done = CliRunner().invoke(app, ["stop", "abc"])
    assert (done.exit_code, "to stop run abc123 of micro" in done.output) == (0, True)
    claim.confirm()
    assert claim.stop_asked_by is not None


def test_wait_says_how_the_run_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = begun(home, "another machine")

    def sleep(seconds: float) -> None:
        claim.ledger.finish_run(IDENTITY, {"status": "refused"})
        claim._release()

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no name"])
    done = CliRunner().invoke(app, ["stop", "abc123", "--wait"])
    assert (done.exit_code, "run abc123: refused" in done.output) == (0, True)


def test_faults_a_run_whose_process_is_dead_is_not_in_progress(home: Home) -> None:
    with Locks(home.locks).working(lock_name(IDENTITY), ""):
        place = Locks(home.locks).place(lock_name(IDENTITY))
    begun(home, place)
    done = CliRunner().invoke(app, ["stop", "abc123"])
    assert isinstance(done.exception, RecipeError)  # exit code 2
    assert "run abc123 of micro is not in progress: its status is killed" in str(done.exception)
