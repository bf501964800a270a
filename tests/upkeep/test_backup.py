"""A backup has what is alive and nothing else, while runs are in progress; a restore puts it in place whole or not at all."""

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import BackupError, RatchetError, RecipeError, RegistryError, StoreError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.project.locks import BUSY, Locks
from ratchet.components.storage.files import MANIFEST, commit_directory, write_json, write_text
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store
from ratchet.components.upkeep import backup, restore
from ratchet.components.upkeep.backup import back_up
from ratchet.components.upkeep.cleanup import Alive, Cleanup
from ratchet.components.upkeep.restore import restore as put_back

MODEL = Path("models", "m 1")  # below the artifacts
OLD = 1_700_000_000.0  # before every run of these tests
CHAMPIONS, NOBODYS = "a" * 32, "b" * 32


def silent(text: str) -> None:
    pass


def dvc_object(home: Home, content: bytes, suffix: str = "") -> str:
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = home.dvc / "cache" / "files" / "md5" / name[:2] / f"{name[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name + suffix


def dataset(home: Home, rows: str) -> str:
    """A version in DVC's cache, with one file."""
    row = dvc_object(home, rows.encode())
    return dvc_object(home, json.dumps([{"md5": row, "relpath": "train.jsonl"}]).encode(), ".dir")


def stage(home: Home, key: str) -> None:
    Store(home.store).commit("train", key, lambda path: write_text(path / "model" / "weights", key), {})
    os.utime(home.store / "train" / key / MANIFEST, (OLD, OLD))


def ended(ledger: Ledger, run_id: str, key: str, data: str) -> None:
    ledger.begin_run(f"i-{run_id}", "m", run_id)
    stages = [{"name": "train", "key": key}]
    ledger.finish_run(f"i-{run_id}", {"status": "promoted", "stages": stages, "dataset": data})


def mlflow(home: Home) -> None:
    """As much of MLflow's database as has places of artifacts."""
    artifact = home.artifacts / MODEL
    write_text(artifact / "MLmodel", "flavors")
    write_text(artifact / "artifacts" / "model" / "weights", "champion")
    write_json(artifact / "artifacts" / "served_manifest.json", {"files": {"weights": hashlib.sha256(b"champion").hexdigest()}})
    with closing(sqlite3.connect(home.mlflow_database)) as connection, connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        for table, column in (("runs", "artifact_uri"), ("model_versions", "source")):
            connection.execute(f"CREATE TABLE {table} ({column} TEXT)")
        connection.execute("CREATE TABLE logged_models (artifact_location TEXT)")
        connection.execute("INSERT INTO experiments VALUES (?)", [home.artifacts.as_uri()])
        connection.execute("INSERT INTO model_versions VALUES (?)", [f"{home.artifacts.as_uri()}/models/m%201"])


class FakeTracker:
    """MLflow's registry, which knows one version."""

    def __init__(self, place: Path | None = MODEL) -> None:
        self.found = place

    def version(self, name: str, version: str) -> tuple[str, str]:
        return name, version

    def lacks_files(self, version: tuple[str, str]) -> bool:
        assert version == ("m", "1")
        return False

    def place(self, name: str, version: str) -> Path | None:
        return self.found


def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    path.mkdir(exist_ok=True)
    for name in ("RATCHET_LEDGER_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home(path, path / ".ratchet")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A project with a champion, a pointer to another dataset, and leftovers of runs that nothing needs."""
    home = opened(tmp_path / "pro # ject", monkeypatch)
    monkeypatch.setattr(backup, "open_tracker", lambda *_: FakeTracker())
    ledger = Ledger(home.ledger)
    ended(ledger, "r1", CHAMPIONS, dataset(home, "champion"))
    ended(ledger, "r2", NOBODYS, dataset(home, "nobody"))
    with promotion_lease(ledger, "m") as token:
        ledger.promote("m", Promotion(1, "1", None, "w", "gate", "v", None, "r1", now()), token=token)
    for key in (CHAMPIONS, NOBODYS):
        stage(home, key)
    pinned = dataset(home, "pinned")
    write_text(home.project / "data.dvc", f"outs:\n- {{md5: {pinned}, path: data}}\n")
    write_text(home.reports / "r1.html", "a report")
    for secret in ("server/token", "locks/run-x.lock", "prefect/prefect.db"):
        write_text(home.state / secret, "not in a backup")
    mlflow(home)
    return home


@pytest.fixture
def file(home: Home, tmp_path: Path) -> Path:
    back_up(home, tmp_path / "b.tar", silent)
    return tmp_path / "b.tar"


def remove_state(home: Home) -> None:
    shutil.rmtree(home.state)
    shutil.rmtree(home.project / "mlflow")


def tree(home: Home) -> set[str]:
    """The files of the state and of MLflow, less what belongs to this machine."""
    found = {path.relative_to(home.project).as_posix() for path in home.project.rglob("*") if path.is_file()}
    own = (".ratchet/locks", ".ratchet/server", ".ratchet/prefect")
    return {name for name in found if not name.startswith(own)}


def test_what_is_alive_comes_back_and_nothing_else(home: Home, file: Path) -> None:
    before, history = tree(home), Ledger(home.ledger).history("m")
    remove_state(home)
    done = put_back(home, file, silent)
    nobodys = hashlib.md5(b"nobody", usedforsecurity=False).hexdigest()
    gone = before - tree(home)
    assert tree(home) <= before
    assert {name for name in gone if NOBODYS in name} == {name for name in before if NOBODYS in name}
    assert any(nobodys[2:] in name for name in gone)
    assert len(gone) == 2 + 2  # a stage's file and manifest, a dataset's listing and rows
    assert Ledger(home.ledger).history("m") == history
    assert Store(home.store).find("train", CHAMPIONS) is not None
    assert (done.elsewhere, done.pointers, list(home.workspaces.iterdir())) == ([], [], [])
    assert (home.state.stat().st_mode & 0o777, list(home.mlflow_database.parent.glob(".*"))) == (0o700, [])


def test_a_restore_at_another_path_names_its_own_artifacts_and_brings_the_pointers(
    home: Home, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = opened(tmp_path / "other", monkeypatch)
    said: list[str] = []
    put_back(other, file, said.append)
    with closing(sqlite3.connect(other.mlflow_database)) as connection:
        assert (
            connection.execute("SELECT source FROM model_versions").fetchone()[0] == f"{other.artifacts.as_uri()}/models/m%201"
        )
    assert "2 places in MLflow's records now name this folder" in said[0]
    assert (other.project / "data.dvc").read_bytes() == (home.project / "data.dvc").read_bytes()


def test_a_pointer_that_a_person_moved_meanwhile_stays(home: Home, file: Path) -> None:
    remove_state(home)
    write_text(home.project / "data.dvc", "mine")
    assert put_back(home, file, silent).pointers == ["data.dvc"]
    assert (home.project / "data.dvc").read_text() == "mine"


def test_a_champion_that_moves_between_the_copies_is_in_both_or_in_neither(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Path, target: Path, seconds: float) -> None:
        copied.append(source.name)
        before(source, target, seconds)
        if len(copied) in moves:
            ledger.begin_move(champion, "m")

    copied: list[str] = []
    ledger, before, moves = Ledger(home.ledger), backup.copy_database, {1, 4}
    champion = ledger.history("m")[0]
    monkeypatch.setattr(backup, "copy_database", copy)
    back_up(home, tmp_path / "b.tar", silent)
    assert copied == ["ledger.db", "mlflow.db"] * 3
    moves.update(range(1000))
    with pytest.raises(StoreError, match="champions were promoted all the time"):
        back_up(home, tmp_path / "c.tar", silent)


def test_a_training_that_ends_meanwhile_is_a_stage_of_the_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(cleanup: Cleanup) -> Alive:
        Store(home.store).commit("train", "c" * 32, lambda path: write_text(path / "model" / "weights", "new"), {})
        assert not work.exists()
        return before(cleanup)

    work, before = home.store / "train" / f".work.{'c' * 32}", Cleanup.alive
    Ledger(home.ledger).begin_run("open", "m", "r3")
    commit_directory(work / "step_000002", lambda path: write_text(path / "policy.safetensors", "weights"), {})
    monkeypatch.setattr(Cleanup, "alive", ends)
    back_up(home, tmp_path / "b.tar", silent)
    remove_state(home)
    put_back(home, tmp_path / "b.tar", silent)
    assert Store(home.store).find("train", "c" * 32) is not None
    assert not work.exists()


def test_nothing_is_deleted_and_runs_may_begin_during_a_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*arguments: Any) -> int:
        with Locks(home.locks).deleting() as alone:
            assert not alone, BUSY
        with Locks(home.locks, lambda text: pytest.fail(text)).working("a-run", "it waits"):
            return before(*arguments)

    before = backup.write_archive
    monkeypatch.setattr(backup, "write_archive", write)
    back_up(home, tmp_path / "b.tar", silent)
    with Locks(home.locks).deleting() as alone:
        assert alone


def test_an_open_run_keeps_its_complete_checkpoints_even_if_it_deletes_them_meanwhile(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = home.store / "train" / f".work.{'c' * 32}"
    Ledger(home.ledger).begin_run("open", "m", "r3")
    for step in (2, 4):
        write_json(work / "metrics" / f"step_{step:06d}.json", [])
        commit_directory(work / f"step_{step:06d}", lambda path: write_text(path / "policy.safetensors", "weights"), {})
    write_json(work / "metrics" / "step_000006.json", [])  # the checkpoint of which is not there yet
    write_json(work / "step_000006" / "manifest.json", {"files": {"policy.safetensors": "sha256"}})
    write_text(work / ".tmp.step_000006.host.1.0" / "policy.safetensors", "half")

    def write(*arguments: Any) -> int:
        shutil.rmtree(work)
        return before(*arguments)

    before = backup.write_archive
    monkeypatch.setattr(backup, "write_archive", write)
    back_up(home, tmp_path / "b.tar", silent)
    remove_state(home)
    put_back(home, tmp_path / "b.tar", silent)
    found = {path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()}
    assert found == {
        *("metrics/step_000002.json", "metrics/step_000004.json"),
        *(f"step_00000{step}/{name}" for step in (2, 4) for name in ("manifest.json", "policy.safetensors")),
    }


def test_what_is_on_a_server_is_named_without_its_password_and_the_rest_is_backed_up(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(home.state / "ledger.db", tmp_path / "elsewhere.db")
    monkeypatch.setenv("RATCHET_LEDGER_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example")
    done = back_up(home, tmp_path / "b.tar", silent)
    ledger, server = done.elsewhere
    assert "elsewhere.db: copy it with `sqlite3 FILE '.backup COPY'`" in ledger
    assert "mlflow.example" in server
    assert "secret" not in server
    remove_state(home)
    assert put_back(home, tmp_path / "b.tar", silent).elsewhere == done.elsewhere
    assert (home.state / "ledger.db").exists() is home.mlflow_database.exists() is False
    assert Store(home.store).find("train", CHAMPIONS) is not None


def test_a_dataset_comes_from_the_local_remote_if_the_cache_lacks_it_and_else_is_named(home: Home, tmp_path: Path) -> None:
    row = hashlib.md5(b"pinned", usedforsecurity=False).hexdigest()
    cached, remote = (home.dvc / name / "files" / "md5" / row[:2] / row[2:] for name in ("cache", "remote"))
    remote.parent.mkdir(parents=True)
    cached.rename(remote)
    assert back_up(home, tmp_path / "b.tar", silent).elsewhere == []
    remote.unlink()
    (said,) = back_up(home, tmp_path / "c.tar", silent).elsewhere
    assert said.endswith("is neither in DVC's cache nor in the local remote; `ratchet data pull` may have it")
    remove_state(home)
    put_back(home, tmp_path / "b.tar", silent)
    assert cached.read_bytes() == b"pinned"


def test_of_a_shared_ledger_a_dataset_that_is_missing_may_be_anothers(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(home.state / "ledger.db", tmp_path / "shared.db")
    monkeypatch.setenv("RATCHET_LEDGER_URL", f"sqlite:///{tmp_path / 'shared.db'}")
    shutil.rmtree(home.dvc)
    said = back_up(home, tmp_path / "b.tar", silent).elsewhere
    assert any(one.endswith("unless another project of this ledger made it") for one in said)


def weights(home: Home) -> Path:
    return home.artifacts / MODEL / "artifacts" / "model" / "weights"


def test_a_champion_whose_files_are_elsewhere_is_named(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "open_tracker", lambda *_: FakeTracker(None))
    (said,) = back_up(home, tmp_path / "b.tar", silent).elsewhere
    assert "the files of version 1 of m are outside of" in said


def test_faults_a_champion_whose_file_is_missing_or_a_link(home: Home, tmp_path: Path) -> None:
    moved = tmp_path / "weights"
    weights(home).rename(moved)
    for leave in (lambda: None, lambda: weights(home).symlink_to(moved)):
        leave()
        with pytest.raises(StoreError, match=r"model/weights of a champion is missing, or is a link"):
            back_up(home, tmp_path / "b.tar", silent)


@pytest.mark.parametrize("what", ["champion", "stage", "dataset"])
def test_faults_what_is_damaged_is_not_backed_up(home: Home, tmp_path: Path, what: str) -> None:
    md5 = hashlib.md5(b"champion", usedforsecurity=False).hexdigest()
    places = {
        "champion": weights(home),
        "stage": home.store / "train" / CHAMPIONS / "model" / "weights",
        "dataset": home.dvc / "cache" / "files" / "md5" / md5[:2] / md5[2:],
    }
    places[what].write_text("other")
    with pytest.raises(StoreError, match="is damaged: it is not what its record says"):
        back_up(home, tmp_path / "b.tar", silent)
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("there.tar", "exists, and a backup replaces nothing"),
        ("no/b.tar", "there is no folder"),
        ("pro # ject/.ratchet/b.tar", "inside of what is backed up"),
        ("pro # ject/mlflow/artifacts/b.tar", "inside of what is backed up"),
    ],
)
def test_faults_a_file_that_cannot_be_a_backup(home: Home, tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "there.tar").touch()
    with pytest.raises(RecipeError, match=cause):
        back_up(home, tmp_path / name, silent)


@pytest.mark.parametrize(
    "left", [".ratchet/store", ".ratchet/ledger.db", ".ratchet/dvc", "mlflow/mlflow.db", "mlflow/artifacts"]
)
def test_faults_a_project_with_state_is_left_alone(home: Home, file: Path, tmp_path: Path, left: str) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(home.project, kept)
    remove_state(home)
    (home.project / left).parent.mkdir()
    shutil.move(kept / left, home.project / left)
    before = tree(home)
    with pytest.raises(StoreError, match=rf"Move these away, and restore again: .*{left}'$"):
        put_back(home, file, silent)
    assert tree(home) == before


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("RATCHET_LEDGER_URL", "sqlite:////tmp/another.db", "RATCHET_LEDGER_URL names another database. Unset it"),
        ("MLFLOW_TRACKING_URI", "https://mlflow.example", "MLFLOW_TRACKING_URI names another. Unset it"),
    ],
)
def test_faults_a_backup_of_other_databases_than_the_environment_names(
    home: Home, file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, cause: str
) -> None:
    remove_state(home)
    monkeypatch.setenv(variable, value)
    with pytest.raises(StoreError, match=cause):
        put_back(home, file, silent)
    assert tree(home) == {"data.dvc"}


def test_faults_a_missing_backup_is_the_commands_fault(home: Home, tmp_path: Path) -> None:
    remove_state(home)
    with pytest.raises(BackupError, match=r"there is no file .*none\.tar\. Name a backup") as refused:
        put_back(home, tmp_path / "none.tar", silent)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        (restore, "schema_version", RegistryError("the ledger has schema 99, of a later release")),
        (restore, "read_archive", StoreError("it is damaged")),
    ],
)
def test_faults_nothing_is_in_place_if_the_backup_cannot_be_used(
    home: Home, file: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: RatchetError
) -> None:
    def fails(*_: Any) -> None:
        raise error

    remove_state(home)
    monkeypatch.setattr(module, name, fails)
    with pytest.raises(type(error)):
        put_back(home, file, silent)
    assert tree(home) == {"data.dvc"}


def test_faults_a_restore_waits_for_no_run(home: Home, file: Path) -> None:
    remove_state(home)
    with Locks(home.locks).working("a-run", ""), pytest.raises(StoreError, match="in progress"):
        put_back(home, file, silent)


def test_faults_a_disk_that_is_too_small_for_the_copies_or_for_the_files(
    home: Home, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "free_bytes", lambda _: 1000)
    with pytest.raises(StoreError, match="copies of the databases take"):
        back_up(home, tmp_path / "c.tar", silent)
    remove_state(home)
    monkeypatch.setattr(restore, "free_bytes", lambda _: 1000)
    with pytest.raises(StoreError, match="Free space"):
        put_back(home, file, silent)
    assert not (tmp_path / "c.tar").exists()
