"""SIGKILL at every kind of commit point; the run that is started again completes, and nothing happened twice."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.storage.home import Home
from ratchet.flows.servers import start as servers
from ratchet.flows.servers.api_token import client_environment, token_of
from tests import commands
from tests.commands import environment
from tests.places import MICRO, ROOT

POINTS = [
    "commit:{data}:manifest",
    "commit:{warmup}:files",
    "commit:{reward}:renamed",
    "train:1:update",
    "commit:step_000004:renamed",  # before its figures are in the journal
    "train:6:update",
    "commit:{train}:files",
    "registry:logged",
    "registry:version",
    "registry:alias:challenger",
    "ledger:use_counted",
    "ledger:verdict",
    "ledger:promoted",
    "registry:alias:champion",
]
OVERRIDES = ["--set", "train.evaluate_every=4", "--set", "seed=1"]  # promoted with room: 19 wins to 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def new_project(path: Path) -> Path:
    (path / "mlflow").mkdir(parents=True)
    shutil.copy(ROOT / "mlflow" / "model-card.md.j2", path / "mlflow")
    return path


@pytest.fixture(scope="module", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for all of these processes, which otherwise start one each."""
    with socket.socket() as probe:
        probe.bind((servers.HOST, 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect_server")))
        patch.delenv("PREFECT_API_URL", raising=False)
        folder = tmp_path_factory.mktemp("prefect_project")
        home = Home(folder, folder / ".ratchet")
        server = servers.project_server(home, port)
        for name, value in client_environment(servers.api_url(port), token_of(home)).items():
            patch.setenv(name, value)
        yield
        servers.stop(server)


def ratchet(project: Path, kill_at: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run in a session of its own, which is ended whole."""
    server = {name: os.environ[name] for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
    variables = environment(**server, **({"RATCHET_KILL_AT": kill_at} if kill_at else {}))
    command = commands.ratchet("run", "--recipe", str(MICRO), "--json", *OVERRIDES)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(command, cwd=project, env=variables, start_new_session=True, **pipes)
    try:
        process.wait(600)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    return subprocess.CompletedProcess(command, process.returncode, process.stdout.read())


def client_of(project: Path) -> MlflowClient:
    """Of this project's own registry too: by default that is the one that another test of this process used last."""
    uri = f"sqlite:///{project / 'mlflow' / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def keys_of(project: Path) -> dict[str, list[str]]:
    store = project / ".ratchet" / "store"
    return {stage.name: sorted(p.name for p in stage.iterdir()) for stage in store.iterdir()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = new_project(tmp_path_factory.mktemp("uninterrupted"))
    done = ratchet(project)
    assert json.loads(done.stdout)["status"] == "promoted"
    return project


@pytest.fixture(scope="module")
def killed(uninterrupted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    project = new_project(tmp_path_factory.mktemp("killed"))
    keys = {stage: names[0] for stage, names in keys_of(uninterrupted).items()}
    for point in POINTS:
        done = ratchet(project, point.format(**keys))
        assert (done.returncode, "was killed by SIGKILL" in done.stdout) == (1, True), (
            f"was not killed at {point}: {done.stdout}"
        )
    return project, json.loads(ratchet(project).stdout)


def test_the_run_completes(killed: tuple[Path, dict[str, Any]]) -> None:
    assert killed[1]["status"] == "promoted"


def test_no_finished_stage_was_done_again(uninterrupted: Path, killed: tuple[Path, dict[str, Any]]) -> None:
    assert all(stage["cached"] for stage in killed[1]["stages"])
    assert keys_of(killed[0]) == keys_of(uninterrupted)


def test_the_weights_are_those_of_the_uninterrupted_run(uninterrupted: Path, killed: tuple[Path, dict[str, Any]]) -> None:
    digests = [
        Ledger(f"sqlite:///{project / '.ratchet' / 'ledger.db'}").history("micro")[0].weights
        for project in (uninterrupted, killed[0])
    ]
    assert digests[0] == digests[1]


def test_there_is_one_version_one_promotion_and_one_gate_use(killed: tuple[Path, dict[str, Any]]) -> None:
    project = killed[0]
    ledger = Ledger(f"sqlite:///{project / '.ratchet' / 'ledger.db'}")
    client = client_of(project)
    assert len(ledger.history("micro")) == 1
    assert len(ledger.past("micro").uses) == len(ledger.retired("micro")) == 1
    assert len(client.search_model_versions("name = 'micro'")) == 1
    assert int(client.get_model_version_by_alias("micro", "champion").version) == 1


def test_no_run_is_left_running_and_the_parent_is_one(killed: tuple[Path, dict[str, Any]]) -> None:
    client = client_of(killed[0])
    experiment = client.get_experiment_by_name("micro")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert [r.info.run_name for r in found if r.info.status == "RUNNING"] == []
    assert len([r for r in found if "mlflow.parentRunId" not in r.data.tags]) == 1


def test_mlflow_has_each_figure_of_training_once(killed: tuple[Path, dict[str, Any]]) -> None:
    project, client = killed[0], client_of(killed[0])
    (key,) = keys_of(project)["train"]
    lines = (project / ".ratchet" / "store" / "train" / key / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    wanted = sorted((name, row["step"], value) for row in rows for name, value in row["values"].items())
    experiment = client.get_experiment_by_name("micro")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.stage = 'train'")
    names = {name for name, _, _ in wanted}
    found = [(one.key, one.step, one.value) for name in names for one in client.get_metric_history(run.info.run_id, name)]
    assert sorted(found) == wanted
