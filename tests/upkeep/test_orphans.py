import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.launch.job import Job, Request
from ratchet.components.launch.processes import Process
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Launch
from ratchet.components.storage.home import Home
from ratchet.components.upkeep.orphans import orphans
from ratchet.flows.cli import app

HERE = Process.own()
GONE = Process(HERE.host, HERE.pid, -1e9)  # this number belonged to another process


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Home.here()


def job_of(home: Home, launcher: Process = HERE, follower: Process = GONE) -> Job:
    """A job of which this process is the launcher."""
    job = Job(home.store / "train" / ".work.abc" / "job")
    order = {"recipe": {"name": "micro"}}
    job.begin(Request("entry", "key", Launch(kind="torchrun", workers=2), str(home.project), "cpu", 1, None, order))
    job.launched_by(launcher)
    job.followed_by(follower)
    job.progress(3, 10, "")
    return job


def test_a_job_without_its_run_is_found(home: Home) -> None:
    job_of(home)
    (found,) = orphans(home)
    assert (found.model, found.process, found.done, found.total) == ("micro", os.getpid(), 3, 10)


@pytest.mark.parametrize(("launcher", "follower"), [(GONE, GONE), (HERE, HERE)])
def test_a_job_that_ended_or_is_followed_is_none(home: Home, launcher: Process, follower: Process) -> None:
    job_of(home, launcher, follower)
    assert list(orphans(home)) == []


def test_status_shows_it_and_stop_asks_it(home: Home) -> None:
    job, ledger = job_of(home), Ledger(home.ledger)
    ledger.begin_run("ab" * 32, "micro", "abc123")
    ledger.break_run("ab" * 32, "killed")
    shown = CliRunner().invoke(app, ["status"]).output
    assert "continues to train; its run was killed. Step 3 of 10." in " ".join(shown.split())
    done = CliRunner().invoke(app, ["stop", "abc123"])
    assert (done.exit_code, "asked the ranks of a training of micro" in done.output) == (0, True)
    assert job.stop_asked


def test_stop_of_another_models_run_leaves_it(home: Home) -> None:
    job, ledger = job_of(home), Ledger(home.ledger)
    ledger.begin_run("ab" * 32, "other", "abc123")
    ledger.break_run("ab" * 32, "killed")
    assert CliRunner().invoke(app, ["stop", "abc123"]).exit_code != 0
    assert not job.stop_asked
