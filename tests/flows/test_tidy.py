"""Deleting never goes on beside a run, and never spoils one."""

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from ratchet.components.home import Home
from ratchet.components.ledger.claims import acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.stage import Context
from ratchet.flows import retention
from ratchet.flows.cli.views.console import Display
from ratchet.flows.recording import Recording, working
from ratchet.flows.retention import BUSY, alone, collect, tidy
from tests.places import MICRO


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / ".ratchet")


def test_while_a_run_goes_on_nothing_is_deleted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "clean", lambda *_: pytest.fail("deleted beside a run"))
    recipe, tracker = load_recipe(MICRO), object()
    with working(home, "one", "waiting"):
        assert collect(home, recipe, Ledger(home.ledger), tracker, dry_run=False) == ([], BUSY)  # type: ignore[arg-type]


def test_a_lease_that_nobody_holds_does_not_count(home: Home) -> None:
    with working(home, "one", "waiting"):
        pass
    with alone(home) as free:
        assert free


def test_while_something_is_deleted_no_run_begins(home: Home) -> None:
    lock = FileLock(home.leases / "gc.lock")  # which every run takes once before it begins
    with alone(home), pytest.raises(Timeout):
        lock.acquire(timeout=0)


def test_two_deletions_do_not_go_on_at_once(home: Home) -> None:
    with alone(home), alone(home) as second:
        assert not second


def test_an_error_in_deleting_does_not_spoil_the_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr(retention, "collect", fails)
    ledger = Ledger(home.ledger)
    claim = acquired(ledger, "run", "place", lambda *_: None)
    recording = Recording(Context(load_recipe(MICRO), home), ledger, Display(), claim, run_id="r")
    recording.__dict__["tracker"] = object()
    tidy(recording)
