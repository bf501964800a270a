"""Who is champion by MLflow's alias and by the ledger: against a database of MLflow's on disk."""

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED
from typer.testing import CliRunner

from ratchet.components.errors import PendingAliasError, RegistryError
from ratchet.components.inspection.disagreements import disagreements
from ratchet.components.inspection.doctor import examined
from ratchet.components.inspection.overview import overview
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.overrides import override
from ratchet.components.ledger.promotion import follow
from ratchet.components.registry import outage
from ratchet.components.registry.runs import Tracker
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app
from ratchet.flows.cli.views.status import lines_of
from tests.ledger.fakes import Registry
from tests.places import MICRO
from tests.registry.test_versions import registered

LOST = "MLflow names version 1 of m as champion, but the ledger has no promotion of it"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Version 1 of ``m`` is champion by MLflow's alias, and there is no ledger."""
    found = Home(tmp_path, tmp_path / ".ratchet")
    tracker = Tracker(found.tracking_uri, "m", found.artifacts)
    tracker.set_alias("m", "champion", registered(tracker, tmp_path))
    return found


def test_a_champion_that_the_ledger_lost_is_named_with_the_remedies(home: Home) -> None:
    found = disagreements(home, Ledger.to_read(home.ledger))
    assert found is not None and list(found) == ["m"]
    assert found["m"].startswith(LOST)
    assert "`ratchet restore`" in found["m"] and "`ratchet promote 1 --override --reason TEXT`" in found["m"]
    assert not (home.state / "ledger.db").exists()


def test_agreement_is_no_finding(home: Home) -> None:
    ledger = Ledger("sqlite://")
    override(ledger, Registry(), "m", "1", "ledger lost", "ann")
    assert disagreements(home, ledger) == {}


def test_a_project_without_mlflow_is_left_as_it_is(tmp_path: Path) -> None:
    empty = Home(tmp_path / "empty", tmp_path / "empty" / ".ratchet")
    assert disagreements(empty, Ledger("sqlite://"), ["m"]) == {}
    assert not empty.project.exists()


def test_an_alias_that_was_moved_by_hand_is_named(home: Home) -> None:
    ledger, registry = Ledger("sqlite://"), Registry()
    override(ledger, registry, "m", "7", "why", "ann")
    assert "is at version 1, but the ledger's champion is version 7" in (disagreements(home, ledger) or {})["m"]


def test_of_another_mlflow_only_models_of_this_project_are_looked_at(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.tracking_uri)
    other = Home(tmp_path / "other", tmp_path / "other" / ".ratchet")
    assert disagreements(other, Ledger("sqlite://")) == {}
    assert disagreements(other, Ledger("sqlite://"), ["m"]) is not None
    assert list(disagreements(other, Ledger("sqlite://"), ["m"]) or {}) == ["m"]


def test_an_mlflow_that_does_not_answer_is_no_agreement(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> None:
        raise ConnectionError

    monkeypatch.setattr(outage, "ask", away)
    assert disagreements(home, Ledger("sqlite://")) is None
    assert "MLflow does not answer" in "\n".join(lines_of(overview(home, Ledger("sqlite://"), None)))


def test_a_damaged_database_is_an_error_with_its_remedy(home: Home) -> None:
    home.mlflow_database.write_bytes(b"no database" * 100)
    with pytest.raises(RegistryError, match="restore a damaged database from a backup"):
        disagreements(home, Ledger("sqlite://"))


def test_status_history_and_doctor_say_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = overview(home, Ledger.to_read(home.ledger), None)
    assert shown.as_json()["blocked"].keys() == {"m"}
    said = "\n".join(lines_of(shown))
    assert LOST in said and "no champion yet" not in said
    (finding,) = [one for one in examined(home) if one.name == "champions"]
    assert finding.remedy.startswith(LOST)
    (home.project / "ratchet.yaml").write_text(MICRO.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(home.project)
    with pytest.raises(RegistryError, match=LOST):
        CliRunner().invoke(app, ["history", "--set", "name=m"], catch_exceptions=False)


def test_status_asks_only_without_a_champion(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, registry = Ledger("sqlite://"), Registry()
    override(ledger, registry, "m", "7", "why", "ann")
    follow(ledger, registry, "m")
    assert overview(home, ledger, None).blocked == {}


def test_doctor_and_status_name_an_alias_that_has_yet_to_follow(home: Home) -> None:
    ledger, registry = Ledger(home.ledger), Registry()
    override(ledger, registry, "m", "1", "why", "ann")
    assert "yet to follow" not in "\n".join(lines_of(overview(home, ledger, None)))
    registry.broken = True
    with pytest.raises(PendingAliasError):
        override(ledger, registry, "m", "2", "why", "ann")
    (finding,) = [one for one in examined(home) if one.name == "champions"]
    assert finding.remedy.startswith("version 2 is champion in the ledger, and MLflow's alias is at version 1")
    shown = overview(home, ledger, None)
    assert shown.as_json()["pending"] == ["m"]
    assert "yet to follow: `ratchet reconcile`" in "\n".join(lines_of(shown))


def test_a_wrong_login_is_no_damaged_database(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> None:
        raise MlflowException("API request failed with error code 401", error_code=UNAUTHENTICATED)

    monkeypatch.setattr(outage, "ask", unknown)
    with pytest.raises(RegistryError, match=r"refuses requests without a login\. Set MLFLOW_TRACKING_USERNAME and"):
        disagreements(home, Ledger("sqlite://"))
