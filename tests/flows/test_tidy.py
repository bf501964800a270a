"""Nothing is deleted beside a run, and an error in deleting does not spoil one."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.home import Home
from ratchet.components.ledger.claims import acquired
from ratchet.components.recipe import load_recipe
from ratchet.components.run.locks import BUSY
from ratchet.components.run.project import Project
from ratchet.components.run.record import Run
from ratchet.flows import retention
from ratchet.flows.cli.views.console import Display
from ratchet.flows.retention import collect, tidy
from tests.places import MICRO


@pytest.fixture
def found(tmp_path: Path) -> Project:
    project = Project(Home(tmp_path, tmp_path / ".ratchet"), load_recipe(MICRO))
    project.__dict__["tracker"] = object()
    return project


def test_nothing_is_deleted_while_a_run_is_under_way(found: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "clean", lambda *_: pytest.fail("deleted beside a run"))
    with found.locks.working("one", "waiting"):
        assert collect(found, dry_run=False) == ([], BUSY)


def test_an_error_in_deleting_does_not_spoil_the_run(found: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr(retention, "collect", fails)
    claim = acquired(found.ledger, "run", "place", lambda *_: None)
    run = Run(found, Display(), claim)
    run.run_id = "r"
    tidy(run)
