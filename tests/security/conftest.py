"""What a web page could reach: the Prefect servers of ``ratchet schedule``, ``ui`` and ``train``, started once and together."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .doors import (
    ENDLESS,
    MICRO,
    Door,
    environment,
    free_port,
    healthy,
    listening_port,
    new_project,
    started,
    suspend_all_but_servers,
    wait_for,
)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of Prefect's."""
    home = tmp_path_factory.mktemp("prefect_home")
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    subprocess.run(command, env={**environment(), "PREFECT_HOME": str(home)}, check=True, capture_output=True, timeout=240)
    return home / "prefect.db"


@pytest.fixture(scope="session")
def doors(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """The three commands, each in a project of its own."""
    projects = {name: new_project(tmp_path_factory.mktemp(name) / "project", database) for name in ("serve", "ui", "run")}
    serve_port, ui_port, mlflow_port = free_port(), free_port(), free_port()
    schedule = ["schedule", "--every", "30d", "--recipe", MICRO, "--prefect-port", str(serve_port)]
    pages = ["ui", "--port", str(mlflow_port), "--prefect-port", str(ui_port)]
    with (
        started(projects["serve"], *schedule) as serve,
        started(projects["ui"], *pages) as ui,
        started(projects["run"], "train", "--recipe", MICRO, *ENDLESS) as run,
    ):
        run_port = wait_for(lambda: listening_port(run))
        suspend_all_but_servers(run)
        wait_for(lambda: all(healthy(port) for port in (serve_port, ui_port, run_port)) and healthy(mlflow_port, "/health"))
        yield {
            "serve": Door(projects["serve"], serve, serve_port),
            "ui": Door(projects["ui"], ui, ui_port, mlflow_port),
            "run": Door(projects["run"], run, run_port),
        }


@pytest.fixture(params=["serve", "ui", "run"])
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]
