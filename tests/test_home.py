"""State lives in one place, which the environment can move."""

from pathlib import Path

import pytest

from ratchet.components.home import Home

VARIABLES = ("RATCHET_HOME", "RATCHET_LEDGER_URL", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_state_is_in_the_project_by_default(project: Path) -> None:
    home = Home.here()
    places = [home.store, home.workspaces, home.leases, home.reports, home.dvc]
    assert {place.parent for place in places} == {project / ".ratchet"}
    assert home.ledger == f"sqlite:///{project}/.ratchet/ledger.db"
    assert home.tracking_uri == f"sqlite:///{project}/mlflow/mlflow.db"


def test_ratchet_home_moves_the_state_and_leaves_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_HOME", "elsewhere")
    assert Home.here().store == project / "elsewhere" / "store"
    assert Home.here().project == project


def test_an_empty_ratchet_home_counts_as_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_HOME", "")
    assert Home.here().state == project / ".ratchet"


def test_servers_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_LEDGER_URL", "postgresql://ledger")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    assert (Home.here().ledger, Home.here().tracking_uri) == ("postgresql://ledger", "http://mlflow")
