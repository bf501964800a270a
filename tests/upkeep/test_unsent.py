"""What runs that are over left unsent is sent later, once, whoever left it."""

from pathlib import Path

import pytest

from ratchet.components.project.locks import lock_name
from ratchet.components.project.project import Project
from ratchet.components.registry.journal import Journal
from ratchet.components.upkeep import unsent
from ratchet.components.upkeep.unsent import send_journals
from tests.run.runs import FakeTracker, new_project, new_run


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTracker]:
    """By model."""
    found: dict[str, FakeTracker] = {}
    monkeypatch.setattr(unsent, "open_tracker", lambda home, locks, model: found.setdefault(model, FakeTracker()))
    return found


def leave(project: Project, model: str, name: str) -> Journal:
    """A journal as a killed process leaves it."""
    journal = Journal(project.home.journals, name, project.locks.folder)
    journal.append("open", model=model, identity=name, run_id="ours", name=model, tags={}, params={})
    journal.append("start", stage="train")
    journal.append("metrics", stage="train", points=[(1, {"loss": 0.5})])
    return journal


def test_all_that_is_unsent_is_sent_once_and_its_files_deleted(tmp_path: Path, trackers: dict[str, FakeTracker]) -> None:
    project, said = new_project(tmp_path), list[str]()
    assert send_journals(project.home, said.append) == (0, 0, 0)
    leave(project, "micro", "one")
    leave(project, "another", "two")
    assert send_journals(project.home, said.append) == (6, 2, 0)
    assert {model: found.logged for model, found in trackers.items()} == {
        model: {"run0/train": {"loss": 0.5}} for model in ("micro", "another")
    }
    assert said == ["sent 6 records of 2 earlier runs to MLflow"]
    assert list(project.home.journals.iterdir()) == []


def test_a_run_in_progress_sends_its_own(tmp_path: Path, trackers: dict[str, FakeTracker]) -> None:
    run = new_run(tmp_path)
    run.begin()
    with run.project.locks.working(lock_name(run.identity), "waiting"):
        assert send_journals(run.project.home, print) == (0, 0, 0)
    assert send_journals(run.project.home, print) == (
        0,
        0,
        0,
    )  # on another machine: its lock is not here, but its claim is held
    run.claim._release()
    run.ledger.break_run(run.identity, "failed")
    assert send_journals(run.project.home, print) == (1, 1, 0)
    assert run.begun == "run0"  # the ledger knows the id that MLflow gave


def test_what_cannot_be_sent_stays_and_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, said = new_project(tmp_path), list[str]()

    def down(*_: object) -> FakeTracker:
        raise ConnectionError("http://me:secret@mlflow does not answer")

    monkeypatch.setattr(unsent, "open_tracker", down)
    left = [leave(project, "micro", "one"), leave(project, "micro", "two")]
    assert send_journals(project.home, said.append) == (0, 0, 2)
    assert said == [f"figures of an earlier run stay in {left[0].file}, not sent to MLflow: http://***@mlflow does not answer"]
    assert all(journal.file.exists() for journal in left)


def test_a_damaged_journal_holds_up_no_other(tmp_path: Path, trackers: dict[str, FakeTracker]) -> None:
    project, said = new_project(tmp_path), list[str]()
    leave(project, "micro", "a").file.write_text("damaged\n")
    leave(project, "micro", "b")
    assert send_journals(project.home, said.append) == (3, 1, 1)
    assert "record 1 of " in said[0]
