"""A run that another process took over, that fell silent, or that Prefect ended, stops where it is: it promotes nothing."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from mlflow.tracking import MlflowClient
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Crashed

from ratchet.components.errors import ClaimLostError
from ratchet.components.gate import judge as gate
from ratchet.components.ledger.claims import acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks
from ratchet.components.run import steps
from ratchet.components.run.record import lock_name
from ratchet.components.storage.home import Home
from tests.commands import environment, new_project, wait_for
from tests.places import MICRO

SMALL = ("train.steps=8", "train.evaluate_every=4")

Run = Callable[..., dict[str, Any]]
Meanwhile = Callable[[Any, str, Callable[[], None]], None]


def ledger() -> Ledger:
    return Ledger(Home.here().ledger)


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Something happens once, just before a function of a module is carried out."""

    def patch(module: Any, name: str, happens: Callable[[], None]) -> None:
        function = getattr(module, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(module, name, function)
            happens()
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, called)

    return patch


def take_over(name: str) -> Callable[[], None]:
    """Another process claims the run of a model that is going on."""

    def happens() -> None:
        (found,) = [run for run in ledger().latest_runs(1000) if run["model"] == name]
        acquired(ledger(), found["identity"], Locks(Home.here().locks).place(lock_name(found["identity"])), lambda *_: None)

    return happens


@pytest.mark.parametrize(
    ("module", "function"),
    [(steps, "publish_candidate"), (gate, "plan_use"), (gate, "sealed_evaluation"), (steps, "promote")],
    ids=["between two stages", "before its use of a fold is counted", "while the gate scores", "right before its promotion"],
)
def test_a_run_that_was_taken_over_promotes_nothing(
    run: Run, promoted: dict[str, Any], before: Meanwhile, module: Any, function: str
) -> None:
    name = f"taken_{function}"
    before(module, function, take_over(name))
    with pytest.raises(ClaimLostError, match=rf"^process {os.getpid()} on \S+ took this run over .*does not promote"):
        run(f"name={name}", *SMALL)
    assert ledger().history(name) == []
    assert "champion" not in aliases(name)
    past = ledger().past(name)  # as far as it came
    assert len(past.items) == len(past.uses) == (function in ("sealed_evaluation", "promote"))
    assert len(ledger().verdicts(name)) == (function == "promote")
    assert status(name) == "running"  # it is the other's by now, and is not marked failed under its hands


def test_the_run_that_took_over_promotes(run: Run, promoted: dict[str, Any], before: Meanwhile) -> None:
    before(steps, "promote", take_over("resumed"))
    with pytest.raises(ClaimLostError):
        run("name=resumed", *SMALL)
    result = run("name=resumed", *SMALL)
    assert (result["status"], status("resumed")) == ("promoted", "promoted")
    assert [row.run_id for row in ledger().history("resumed")] == [result["run_id"]]


def test_a_run_that_prefect_has_marked_crashed_promotes_nothing(run: Run, promoted: dict[str, Any], before: Meanwhile) -> None:
    def crashed() -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(flow_run.id), Crashed(message="no heartbeat"), force=True)

    before(gate, "sealed_evaluation", crashed)
    with pytest.raises(ClaimLostError, match=r"Prefect reports this run as Crashed.*does not promote\. Run again"):
        run("name=crashed", *SMALL)
    assert ledger().history("crashed") == []
    assert status("crashed") == "failed"
    assert run("name=crashed", *SMALL)["status"] == "promoted"


def status(name: str) -> str:
    (known,) = [run for run in ledger().latest_runs(1000) if run["model"] == name]
    return str(known["status"])


def aliases(name: str) -> dict[str, str]:
    return dict(MlflowClient(Home.here().tracking_uri).get_registered_model(name).aliases)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_stopped_while_another_took_over_ends_when_it_wakes(tmp_path: Path) -> None:
    """Two machines with one ledger and one MLflow, each with a store and locks of its own."""
    one, two = new_project(tmp_path / "one"), new_project(tmp_path / "two")
    shared = {
        "RATCHET_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{one / 'mlflow' / 'mlflow.db'}",
        "RATCHET_CLAIM_SECONDS": "20",
    }
    first = ratchet(one, shared)
    wait_for(lambda: list((one / ".ratchet" / "store" / "train").glob(".work.*/step_*")))
    stop_between_writes(first, tmp_path / "ledger.db", one / "mlflow" / "mlflow.db")
    second = ratchet(two, shared)
    out, error = second.communicate(timeout=600)
    won = json.loads(out)
    os.killpg(first.pid, signal.SIGCONT)
    assert (won["status"], second.returncode) == ("promoted", 0), error
    out, error = first.communicate(timeout=120)
    assert (json.loads(out)["status"], first.returncode) == ("error", 1)
    assert "took this run over" in error
    database = Ledger(shared["RATCHET_LEDGER_URL"])
    assert [row.run_id for row in database.history("micro")] == [won["run_id"]]
    (known,) = database.latest_runs()
    assert (known["run_id"], known["status"]) == (won["run_id"], "promoted")
    assert MlflowClient(shared["MLFLOW_TRACKING_URI"]).get_run(won["run_id"]).info.status == "FINISHED"


def stop_between_writes(process: subprocess.Popen[str], *databases: Path) -> None:
    """Stop a session at an instant at which it holds no lock of SQLite's, which nobody but its holder can end."""
    for _ in range(200):
        os.killpg(process.pid, signal.SIGSTOP)
        wait_for(lambda: all_stopped(process.pid))  # a signal is sent, not yet heard
        if all(map(is_free, databases)):
            return
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("the databases were locked whenever the run was stopped")


def all_stopped(group: int) -> bool:
    """Whether each thread of each process of the group has stopped."""
    return all(
        state in "TZX"
        for process in psutil.process_iter()
        if group_of(process.pid) == group
        for state in states_of(process.pid)
    )


def group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


def states_of(pid: int) -> list[str]:
    """The kernel's letter for each thread."""
    found = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found.append(stat.read_text(encoding="utf-8").rpartition(") ")[2][0])
    return found


def is_free(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database, timeout=0.2)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        connection.rollback()
        return True


def ratchet(project: Path, extra: dict[str, str]) -> subprocess.Popen[str]:
    """A run in a session of its own, which can be stopped whole."""
    command = [sys.executable, "-m", "ratchet", "run", "--recipe", str(MICRO), "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=project, env=environment(**extra), start_new_session=True, stdout=pipe, stderr=pipe, text=True
    )
