"""``ratchet restore``: a project's state from a backup. Nothing is in place before every file was compared with its hash."""

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet.components.errors import BackupError, StoreError
from ratchet.components.ledger.migrations import schema_version
from ratchet.components.project.locks import Locks
from ratchet.components.storage.disk import MIB, free_bytes
from ratchet.components.storage.files import scratch_directory, sync, write_text
from ratchet.components.storage.home import Home, check_version
from ratchet.components.storage.sqlite_files import sqlite_url
from ratchet.components.upkeep.archive import read_archive
from ratchet.components.upkeep.backup import owns_ledger, owns_mlflow

OF_THE_STATE = ("version", "store", "dvc", "reports", "ledger.db")  # the ledger last: without it there is no state
OF_MLFLOW = ("artifacts", "mlflow.db")


@dataclass(frozen=True)
class Restored:
    """What was put in place, when it was backed up, what the backup did not have, and pointers that were left as they are."""

    files: int
    made: str
    elsewhere: list[str]
    pointers: list[str]

    def as_json(self) -> dict[str, Any]:
        return {"files": self.files, "made": self.made, "elsewhere": self.elsewhere, "pointers_kept": self.pointers}


def restore(home: Home, archive: Path, say: Callable[[str], None]) -> Restored:
    """Put a backup in place, in a project without state, which may be at another path than the one backed up.

    Args:
        say: called with what is changed in MLflow's records of places.

    Raises:
        StoreError: if the project has state, or the backup is of a later release, or for other databases than the
            environment names; as BackupError if the file is missing or damaged. Nothing is in place then.
    """
    from ratchet.components.registry.relocation import settle

    require_no_state(home)
    if not archive.is_file():
        raise BackupError(f"there is no file {archive}. Name a backup.")
    for place in (home.state, home.mlflow_database.parent):
        size, free = archive.stat().st_size, free_bytes(place)
        if size > free:
            sizes = f"{archive} has {size / MIB:,.0f} MiB, and the disk of {place} has {free / MIB:,.0f} MiB free"
            raise StoreError(f"{sizes}. Free space and try again.")
    home.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with Locks(home.locks, say).deleting() as alone, _folders(home) as folders:
        if not alone:
            raise StoreError("a run or another restore is in progress in this project. Wait until it has ended.")
        require_no_state(home)  # again: another restore may have ended
        manifest = read_archive(archive, folders)
        _check_databases(home, folders)
        _put_in_place(OF_MLFLOW, folders["mlflow"], home.mlflow_database.parent)
        kept = _pointers(home, folders["project"])
        _put_in_place(OF_THE_STATE, folders["state"], home.state)
    settle(home, say)
    return Restored(
        len(manifest["files"]), str(manifest.get("made")), [str(one) for one in manifest.get("elsewhere", [])], kept
    )


def require_no_state(home: Home) -> None:
    """
    Raises:
        StoreError: naming what must be moved away, if the project has any state.
    """
    own = [home.state / name for name in OF_THE_STATE if name != "version"]
    found = [path for path in (*own, home.mlflow_database, home.artifacts) if _is_something(path)]
    if found:
        names = shlex.join(map(str, found))
        raise StoreError(f"this project has state, and a restore replaces nothing. Move these away, and restore again: {names}")


def _is_something(path: Path) -> bool:
    """Whether there is a file, a link, or a folder that is not empty."""
    return path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir()))


@contextmanager
def _folders(home: Home) -> Iterator[dict[str, Path]]:
    """Where the files of each place wait for their verification: on the disk where they will be, so that renames do."""
    with home.workspace("restore") as folder:
        mlflow = scratch_directory(home.mlflow_database.parent, ".restore")
        folders = {"state": folder / "state", "project": folder / "project", "mlflow": mlflow}
        try:
            for path in folders.values():
                path.mkdir(exist_ok=True)
            yield folders
        finally:
            shutil.rmtree(mlflow, ignore_errors=True)


def _check_databases(home: Home, folders: Mapping[str, Path]) -> None:
    """
    Raises:
        StoreError, RegistryError: if this release or this environment could not use what was backed up.
    """
    check_version(folders["state"])
    ledger = folders["state"] / "ledger.db"
    if ledger.exists() and not owns_ledger(home):
        raise StoreError(
            "this backup has a ledger, but RATCHET_LEDGER_URL names another database. Unset it, and restore again."
        )
    if (folders["mlflow"] / "mlflow.db").exists() and not owns_mlflow(home):
        raise StoreError(
            "this backup has MLflow's database, but MLFLOW_TRACKING_URI names another. Unset it, and restore again."
        )
    if ledger.exists():
        engine = sa.create_engine(sqlite_url(ledger))
        try:
            with engine.connect() as connection:
                schema_version(connection)
        finally:
            engine.dispose()


def _put_in_place(names: Sequence[str], here: Path, there: Path) -> None:
    """Renames only. One that is interrupted leaves a part of the state, over which nothing is restored."""
    for name in names:
        if (here / name).exists():
            (here / name).rename(there / name)
            sync(there)


def _pointers(home: Home, folder: Path) -> list[str]:
    """Put pointers that the project lacks in place; the names of those that it has, and that say something else."""
    kept = []
    for path in sorted(folder.glob("*.dvc")):
        mine = home.project / path.name
        if not mine.exists():
            write_text(mine, path.read_text(encoding="utf-8"))
        elif mine.read_bytes() != path.read_bytes():
            kept.append(path.name)
    return kept
