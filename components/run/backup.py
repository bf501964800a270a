"""``ratchet backup``: ledger, MLflow, and what is alive of datasets and stages, in one file, while runs are in progress.

Ledger and MLflow are copied at one moment at which no run decides anything: the state is one that a crash could have left,
and a run that follows completes it. Files of the store and of DVC's cache do not change, and none is deleted meanwhile.
"""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ratchet.components.data import versioning
from ratchet.components.data.pointers import places
from ratchet.components.disk import MIB, free_bytes
from ratchet.components.errors import RecipeError, StoreError
from ratchet.components.files import MANIFEST, copy_database, read_json
from ratchet.components.home import VERSION, VERSION_FILE, Home
from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.migrations import SCHEMA_VERSION
from ratchet.components.recipe import Retention
from ratchet.components.run.archive import Source, source, write_archive
from ratchet.components.run.cleanup import Alive, Cleanup
from ratchet.components.run.locks import Locks
from ratchet.components.run.project import open_tracker
from ratchet.components.sqlite_files import sqlite_url
from ratchet.components.text import redacted

NEEDED_ONLY = Retention(keep_days=0, keep_runs=0, keep_refused_versions=0)
STEP = re.compile(r"step_(\d+)(?:\.json)?")


@dataclass(frozen=True)
class Backup:
    """What was written, and what is elsewhere and was not."""

    file: Path
    files: int
    bytes: int
    elsewhere: list[str]

    def as_json(self) -> dict[str, object]:
        return {"file": str(self.file), "files": self.files, "bytes": self.bytes, "elsewhere": self.elsewhere}


def back_up(home: Home, target: Path, say: Callable[[str], None]) -> Backup:
    """Write a backup of a project.

    Args:
        say: called with what is waited for.

    Raises:
        RecipeError: if the file exists, or would be inside of what is backed up.
        StoreError: if the disk is too small, or something cannot be read.
        RegistryError: if the ledger or MLflow cannot be read; without them it is not known what is alive.
    """
    check_target(home, target)
    locks = Locks(home.leases, say)
    with locks.working("backup", "another backup is in progress; waiting"), home.workspace("backup") as folder:
        home.mark()
        databases, elsewhere = _databases(home, folder, say)
        alive = _alive(home, locks, folder)
        datasets, missing = _datasets(home, alive)
        sources = [
            *databases,
            source(f"state/{VERSION_FILE}", home.state / VERSION_FILE),
            *(source(f"project/{place.pointer.name}", place.pointer) for place in places(home.project)),
            *(one for name in alive.stages for one in _below(f"state/store/{name}", home.store / name)),
            *_checkpoints(home, alive, folder),
            *datasets,
            *_below("state/reports", home.reports),
            *(_below("mlflow/artifacts", home.artifacts) if owns_mlflow(home) else ()),
        ]
        elsewhere += missing
        schema = {"ledger": SCHEMA_VERSION, "state": VERSION}
        facts = {"made": now(), "ratchet": _release(), "schema": schema, "elsewhere": elsewhere}
        return Backup(target, len(sources), write_archive(target, sources, facts), elsewhere)


def check_target(home: Home, target: Path) -> None:
    """
    Raises:
        RecipeError: if the file exists, or would be inside of what is backed up.
    """
    if target.exists():
        raise RecipeError(f"{target} exists, and a backup replaces nothing. Name another file.")
    if not target.parent.is_dir():
        raise RecipeError(f"there is no folder {target.parent}. Make it, or name another file.")
    place = target.parent.resolve()
    for inside in (home.state, home.project / "mlflow"):
        if place.is_relative_to(inside.resolve()):
            raise RecipeError(f"{target} would be inside of what is backed up. Name a file outside of {inside}.")


def owns_ledger(home: Home) -> bool:
    """Whether the ledger is the state's own file, and not a database that RATCHET_LEDGER_URL names."""
    return home.ledger == sqlite_url(home.state / "ledger.db")


def owns_mlflow(home: Home) -> bool:
    return home.tracking_uri == sqlite_url(home.mlflow_database)


def _databases(home: Home, folder: Path, say: Callable[[str], None]) -> tuple[list[Source], list[str]]:
    """Copies of the project's own databases, both of one moment; and a line for each that is on a server."""
    ledger = Ledger(home.ledger, say=say)
    own = {"state/ledger.db": home.state / "ledger.db"} if owns_ledger(home) else {}
    if owns_mlflow(home) and home.mlflow_database.exists():
        own["mlflow/mlflow.db"] = home.mlflow_database
    needed, free = sum(path.stat().st_size for path in own.values()), free_bytes(folder)
    if needed > free:
        raise StoreError(
            f"copies of the databases take {needed / MIB:,.0f} MiB, and the disk of {home.state} has {free / MIB:,.0f} MiB "
            "free. Free space and try again."
        )
    found = []
    with ledger.transaction():  # no run can decide anything, and no alias begins to move
        for name, path in own.items():
            copy = folder / path.name
            try:
                copy_database(path, copy)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(
                    f"cannot copy {path}: {error}. Free disk space, or close the program that locks it."
                ) from error
            found.append(source(name, copy))
    tools = "is not in this backup: back it up with that server's own tools, at the same time"
    elsewhere = (
        [] if owns_ledger(home) else [redacted(f"the ledger, at {ledger.url.render_as_string(hide_password=True)}, {tools}")]
    )
    elsewhere += [] if owns_mlflow(home) else [redacted(f"MLflow, at {home.tracking_uri}, with its artifacts, {tools}")]
    return found, elsewhere


def _alive(home: Home, locks: Locks, folder: Path) -> Alive:
    """What the copy of the ledger needs, if it was copied."""
    ledger = Ledger(sqlite_url(folder / "ledger.db")) if owns_ledger(home) else Ledger(home.ledger)
    model = next(iter(ledger.models()), "")  # all champions of all models are kept
    return Cleanup(home, model, NEEDED_ONLY, ledger, lambda: open_tracker(home, locks, model), time.time()).alive()


def _datasets(home: Home, alive: Alive) -> tuple[list[Source], list[str]]:
    """The objects of the datasets in DVC's cache; and a line for each dataset that it does not have whole."""
    found: dict[str, Source] = {}
    missing = []
    for name in alive.datasets:
        objects = versioning.cached(name, home.dvc)
        if objects is None or not all(path.is_file() for path in objects):
            missing.append(f"dataset {name} is not whole in DVC's cache: it is in the remote, or its run makes it again")
            continue
        for path in objects:
            member = f"state/dvc/{path.relative_to(home.dvc).as_posix()}"
            found[member] = source(member, path)
    return list(found.values()), missing


def _below(name: str, folder: Path) -> Iterator[Source]:
    """The files of a folder, which need not exist."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield source(f"{name}/{path.relative_to(folder).as_posix()}", path)


def _checkpoints(home: Home, alive: Alive, folder: Path) -> Iterator[Source]:
    """Complete checkpoints of unfinished trainings. As links, because their run deletes the older ones meanwhile."""
    for name in alive.checkpoints:
        linked = folder / "checkpoints" / name
        _link(home.store / name, linked)
        _drop_incomplete(linked)
        yield from _below(f"state/store/{name}", linked)


def _link(work: Path, target: Path) -> None:
    for path in sorted(work.rglob("*")):
        place = target / path.relative_to(work)
        if any(part.startswith((".tmp.", "corrupt.")) for part in place.relative_to(target).parts) or not path.is_file():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with _unless_deleted():
            try:
                os.link(path, place)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                shutil.copy2(path, place)


@contextmanager
def _unless_deleted() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return


def _drop_incomplete(work: Path) -> None:
    """Delete checkpoints that lack a file, and figures after the newest one, which a resumed run writes again."""
    complete: dict[Path, int] = {}  # folder of checkpoints -> its newest step
    for path in sorted(work.rglob("step_*")):
        if not path.is_dir():
            continue
        if not _is_complete(path):
            shutil.rmtree(path)
        elif found := STEP.fullmatch(path.name):
            complete[path.parent] = max(complete.get(path.parent, 0), int(found[1]))
    for path in sorted(work.rglob("step_*.json")):
        newest = complete.get(path.parent.parent, -1)
        if (found := STEP.fullmatch(path.name)) and int(found[1]) > newest:
            path.unlink()


def _is_complete(checkpoint: Path) -> bool:
    try:
        files: Sequence[str] = read_json(checkpoint / MANIFEST)["files"]
    except (StoreError, KeyError, TypeError):
        return False
    return all((checkpoint / name).is_file() for name in files)


def _release() -> str:
    try:
        return version("ratchet-rl")
    except PackageNotFoundError:
        return "a checkout"
