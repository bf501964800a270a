"""Settings of the whole test session: no telemetry, no network, Prefect's harness started once.

Flow tests run in one project; a recipe name of its own keeps each test's runs apart.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_url
from ratchet.flows.settings import DEFAULTS
from tests.places import GSM8K, MICRO, ROOT
from tests.postgres import Postgres, binaries, postgres_server

# One thread for each worker and each process that a test starts: two OpenMP pools on two cores slow each other down.
os.environ.update({**DEFAULTS, "HF_HUB_OFFLINE": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL", "OMP_NUM_THREADS": "1"})
for name in ("MLFLOW_TRACKING_URI", "RATCHET_HOME", "RATCHET_LEDGER_URL", "PREFECT_API_URL"):
    os.environ.pop(name, None)


Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def tracking_address(request: pytest.FixtureRequest) -> Iterator[None]:
    """MLflow writes the address that it used last into the environment; the next test, in any order, must not see it.

    Tests of whole flows share a project, and keep it: what another project's test left is not theirs.
    """
    if {"flows", "security"} & set(request.path.parts):
        if "shared_project" in request.fixturenames:
            address(request.getfixturevalue("shared_project"))
        yield
        return
    before = {name: os.environ.pop(name, None) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def address(project: Path) -> None:
    """Point MLflow, and what reads its variables, at a project's own database."""
    import mlflow

    uri = sqlite_url(Home(project, project / ".ratchet").mlflow_database)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


@pytest.fixture(scope="session")
def prefect_harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One temporary Prefect server for the session."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the session; tests that take it are slow."""
    programs = binaries()
    if programs is None:
        pytest.skip("no initdb: PostgreSQL's server is not installed")
    with postgres_server(programs) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory that holds what a clone would, as the working directory."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "model-card.md.j2").write_text((ROOT / "mlflow" / "model-card.md.j2").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_project(tmp_path_factory: pytest.TempPathFactory, prefect_harness: None) -> Iterator[Path]:
    """A project directory with MLflow and the ledger of its own."""
    project = tmp_path_factory.mktemp("project")
    (project / "mlflow").mkdir()
    shutil.copy(ROOT / "mlflow" / "model-card.md.j2", project / "mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield project


@pytest.fixture(scope="session")
def run(shared_project: Path) -> Run:
    """Run the flow on the micro recipe: ``run("train.lr=1e-3", until="train")``."""
    from ratchet.flows.finetune import result_of

    def call(*overrides: str, until: str | None = None) -> dict[str, Any]:
        return result_of(str(MICRO), list(overrides), until)

    return call


@pytest.fixture(scope="session")
def promoted(run: Run) -> dict[str, Any]:
    """The result of the micro recipe's first run."""
    return run()


@pytest.fixture(scope="session")
def gsm8k() -> Path:
    """The folder of real GSM8K files."""
    folder = Path(os.environ.get("RATCHET_TEST_DATA", GSM8K))
    missing = [name for name in ("test.jsonl", "model_solutions.jsonl") if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} in {folder}; set RATCHET_TEST_DATA to the folder that holds them")
    return folder
