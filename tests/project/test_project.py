"""A project is opened one way: nothing before it is needed, MLflow under its lock, each thing once."""

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from ratchet.components.errors import RecipeError
from ratchet.components.project.project import Project, open_project
from ratchet.components.registry import runs
from ratchet.components.storage.home import Home
from tests.places import MICRO


def test_opening_a_project_writes_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    found = open_project(MICRO, ["name=mine"])
    assert (found.name, found.home.project) == ("mine", project)
    assert sorted(project.rglob("*")) == before


def test_a_wrong_override_is_refused(project: Path) -> None:
    with pytest.raises(RecipeError):
        open_project(MICRO, ["train.no_such_key=1"])


def test_the_ledger_is_opened_once(project: Path) -> None:
    found = open_project(MICRO)
    assert found.ledger is found.ledger
    assert found.ledger.history("micro") == []


def test_mlflow_is_opened_once_and_under_its_lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str, Path]] = []

    class FakeTracker:
        def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
            with pytest.raises(Timeout):
                FileLock(found.home.locks / "mlflow.lock").acquire(timeout=0)
            opened.append((uri, experiment, artifacts))

    monkeypatch.setattr(runs, "Tracker", FakeTracker)
    found = open_project(MICRO)
    assert found.tracker is found.tracker
    assert opened == [(found.home.tracking_uri, "micro", found.home.artifacts)]


def test_a_workspace_is_there_for_the_length_of_a_block(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / ".ratchet")
    with home.workspace("verify") as folder:
        (folder / "file").write_text("x", encoding="utf-8")
        assert folder.parent == home.workspaces
    with pytest.raises(ZeroDivisionError), home.workspace("verify"):
        raise ZeroDivisionError
    assert list(home.workspaces.iterdir()) == []


def test_the_number_of_a_version_may_be_given_as_an_alias(project: Path) -> None:
    class Aliases:
        def alias(self, name: str, alias: str) -> str | None:
            return {("micro", "champion"): "7"}.get((name, alias))

    found = Project(Home.here(), open_project(MICRO).recipe)
    found.__dict__["tracker"] = Aliases()
    assert (found.number("champion"), found.number("3")) == ("7", "3")
