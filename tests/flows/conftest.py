"""One project in which all flow tests run; a recipe name of its own keeps each test's runs apart."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MICRO = ROOT / "tests" / "recipes" / "micro.yaml"

Run = Callable[..., dict[str, Any]]


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
    from flows.finetune import finetune

    def call(*overrides: str, until: str | None = None) -> dict[str, Any]:
        return finetune(recipe=str(MICRO), overrides=list(overrides), until=until)

    return call


@pytest.fixture(scope="session")
def promoted(run: Run) -> dict[str, Any]:
    """The result of the micro recipe's first run."""
    return run()
