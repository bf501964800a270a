"""MLflow's server is killed in mid-training and comes back after the run gave up: nothing is lost, nothing is there twice."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.storage.home import Home
from ratchet.flows.servers.start import wait_until_healthy
from tests.commands import environment, free_port, new_project, ratchet
from tests.places import MICRO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_SECONDS = 400
STEPS = 24  # of the recipe


class Server:
    """MLflow's, on one port and one database."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")),
        ]
        self.folder = folder
        self.folder.mkdir()

    def __enter__(self) -> "Server":
        none = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, cwd=self.folder, start_new_session=True, stdout=none, stderr=none)
        wait_until_healthy(f"{self.uri}/health", self.process)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """With its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Command:
    """``ratchet run`` on the micro recipe, and what it has said."""

    def __init__(self, project: Path, server: Server) -> None:
        variables = environment(MLFLOW_TRACKING_URI=server.uri, RATCHET_MLFLOW_SECONDS="3")
        self.log = project / "said"
        with self.log.open("w", encoding="utf-8") as log:
            command = ratchet("run", "--recipe", str(MICRO))
            self.process = subprocess.Popen(command, cwd=project, env=variables, stdout=log, stderr=log, start_new_session=True)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):  # its child too, if the test failed
            os.killpg(self.process.pid, signal.SIGKILL)

    def says(self, beginning: str) -> None:
        """Wait until a line of it begins so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while f"\n{beginning}" not in self.said:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.1)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


def test_faults_a_night_without_mlflow_ends_resumable_and_complete(tmp_path: Path) -> None:
    project, server = new_project(tmp_path / "project"), Server(tmp_path / "server")
    with server, Command(project, server) as command:
        command.says("stage 5 of 7: RL training")
        server.kill()
        assert command.end() == 1
    trained = re.search(r"✓ RL training +([\d.]+) s", command.said)
    assert trained is not None and float(trained[1]) < 120  # MLflow's own retries take minutes
    words = " ".join(command.said.split())
    assert f"waiting for MLflow at {server.uri}, at most 3 s: Connection refused" in words
    assert "the same command resumes the run" in words
    ledger = Ledger(Home(project, project / ".ratchet").ledger)
    assert [row["status"] for row in ledger.latest_runs()] == ["failed"]
    assert ledger.unretired_uses() == []

    with server, Command(project, server) as command:
        assert command.end() == 0, command.said
        check(MlflowClient(server.uri), ledger)
    assert list((project / ".ratchet" / "journals").iterdir()) == []


def check(client: MlflowClient, ledger: Ledger) -> None:
    """One run, one version, one promotion, every figure once."""
    (experiment,) = client.search_experiments(filter_string="name = 'micro'")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.data.tags.get("stage", "micro"): run for run in found}
    names = ("data", "evaluate", "gate", "gold", "micro", "reward", "train", "warmup")
    assert sorted(runs) == list(names) and len(found) == len(names)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert re.fullmatch(r"micro \d{4}-\d\d-\d\d promoted v1", runs["micro"].info.run_name)
    reward = client.get_metric_history(runs["train"].info.run_id, "reward")
    assert [point.step for point in reward] == list(range(1, STEPS + 1))
    (version,) = client.search_model_versions("name = 'micro'")
    assert version.run_id == runs["micro"].info.run_id
    (row,) = ledger.latest_runs()
    assert (row["status"], row["run_id"]) == ("promoted", version.run_id)
    assert [promotion.version for promotion in ledger.history("micro")] == [str(version.version)]
