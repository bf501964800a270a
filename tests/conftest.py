"""Settings of the whole test session: no telemetry, no network, Prefect's harness started once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import DEFAULTS

os.environ.update({**DEFAULTS, "HF_HUB_OFFLINE": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL"})
for name in ("MLFLOW_TRACKING_URI", "RATCHET_HOME", "RATCHET_LEDGER_URL", "PREFECT_API_URL"):
    os.environ.pop(name, None)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def prefect_harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One temporary Prefect server for the session."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory that holds what a clone would, as the working directory."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "model-card.md.j2").write_text((ROOT / "mlflow" / "model-card.md.j2").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
