"""A moved project keeps its champion's files, and a copy writes into its own folder."""

import os
import shutil
from pathlib import Path

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.registry.relocation import settle
from ratchet.components.registry.runs import Tracker
from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_url


def opened(project: Path) -> tuple[Tracker, list[str]]:
    """MLflow of a project, and what was said about it."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow writes the address that it used last
        os.environ.pop(name, None)
    home, said = Home(project, project / ".ratchet"), list[str]()
    settle(home, said.append)
    return Tracker(home.tracking_uri, "mine", home.artifacts), said


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in whose MLflow a version is registered; its path has what a URI writes differently."""
    root = tmp_path_factory.mktemp("projects") / "a #1"
    (root / "model").mkdir(parents=True)
    (root / "model" / "model.safetensors").write_bytes(b"weights")
    tracker, _ = opened(root)
    run = tracker.open_run("run", {}, None)
    tracker.artifact(run, root / "model" / "model.safetensors", "kept")
    tracker.register("mine", run, root / "model", {"max_new_tokens": 1}, {"weights_sha256": "w", "policy_sha256": "p"})
    return root


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "b ?2"))


def names_of(place: Path) -> set[Path]:
    return {path.relative_to(place) for path in place.rglob("*")}


def test_faults_a_copy_reads_and_writes_in_its_own_folder(original: Path, copy: Path, tmp_path: Path) -> None:
    before = names_of(original)
    tracker, said = opened(copy)
    assert said[0].startswith(f"this project was at {original}: ")
    new = tracker.open_run("second", {}, None)
    tracker.artifact(new, copy / "model" / "model.safetensors")
    assert (copy / "mlflow" / "artifacts" / new / "artifacts" / "model.safetensors").is_file()
    fetched = tracker.download("mine", "1", tmp_path / "fetched")
    assert (fetched / "model.safetensors").read_bytes() == b"weights"
    tracker.delete_files("mine", "1")  # rejected if they were outside the copy
    assert names_of(original) == before
    assert opened(copy)[1] == []  # once


def test_faults_a_moved_project_keeps_its_champions_files(copy: Path, tmp_path: Path) -> None:
    opened(copy)  # now it is a project of this place
    moved = copy.rename(tmp_path / "moved")
    tracker, said = opened(moved)
    assert said[0].startswith(f"this project was at {copy}: ")
    assert (tracker.download("mine", "1", tmp_path / "fetched") / "model.safetensors").is_file()
    (run,) = {version.run_id for version in tracker.versions("mine")}
    assert tracker.fetch(run, "kept/model.safetensors", tmp_path / "more") is not None


def test_faults_a_copy_without_its_artifacts_is_rejected_and_unchanged(original: Path, copy: Path) -> None:
    shutil.rmtree(copy / "mlflow" / "artifacts")
    before = (copy / "mlflow" / "mlflow.db").read_bytes()
    with pytest.raises(RegistryError, match="copied without its artifacts") as error:
        opened(copy)
    assert f"Copy {original / 'mlflow' / 'artifacts'} to {copy / 'mlflow' / 'artifacts'}" in str(error.value)
    assert (copy / "mlflow" / "mlflow.db").read_bytes() == before


def test_a_project_under_two_names_is_not_a_copy(copy: Path, tmp_path: Path) -> None:
    opened(copy)
    (tmp_path / "link").symlink_to(copy)
    assert opened(tmp_path / "link")[1] == []


def test_a_database_that_the_environment_names_is_left_alone(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(copy / "mlflow" / "mlflow.db", copy / "shared.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_url(copy / "shared.db"))
    said: list[str] = []
    settle(Home(copy, copy / ".ratchet"), said.append)
    assert said == []
