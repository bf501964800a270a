"""``ratchet backup``: ledger, MLflow, and what is alive of datasets and stages, in one file, while runs are in progress.

MLflow is copied after the ledger, and both again if a champion moved in between: the state is one that a crash could have left,
and a run that follows completes it. Files of the store and of DVC's cache do not change, and none is deleted meanwhile.
"""

import math
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ratchet.components.data import versioning
from ratchet.components.data.pointers import places
from ratchet.components.errors import RecipeError, StoreError
from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.migrations import SCHEMA_VERSION
from ratchet.components.project.locks import Locks
from ratchet.components.project.project import open_tracker
from ratchet.components.recipe import Retention
from ratchet.components.storage.disk import MIB, free_bytes
from ratchet.components.storage.files import MANIFEST, copy_database, read_json
from ratchet.components.storage.home import VERSION, VERSION_FILE, Home
from ratchet.components.storage.sqlite_files import sqlite_file, sqlite_url
from ratchet.components.text import redacted
from ratchet.components.upkeep.archive import Source, source, write_archive
from ratchet.components.upkeep.cleanup import Alive, Cleanup

ATTEMPTS = 5
PATIENCE_SECONDS = 300.0  # for a database that is locked, or keeps changing
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
    locks = Locks(home.locks, say)
    with locks.working("backup", "another backup is in progress; waiting"), home.workspace("backup") as folder:
        home.mark()
        databases, elsewhere = _databases(home, folder, say)
        linked = _linked(home, folder)  # before it is asked what is alive: a training may end, and is a stage then
        alive = _alive(home, locks, folder)
        datasets, missing = _datasets(home, alive)
        artifacts, outside = _artifacts(home, locks, folder) if owns_mlflow(home) else ([], [])
        sources = [
            *databases,
            source(f"state/{VERSION_FILE}", home.state / VERSION_FILE),
            *(source(f"project/{place.pointer.name}", place.pointer) for place in places(home.project)),
            *(one for name in alive.stages for one in _stage(f"state/store/{name}", home.store / name)),
            *(one for name in alive.checkpoints for one in _below(f"state/store/{name}", linked / name)),
            *datasets,
            *_below("state/reports", home.reports),
            *artifacts,
        ]
        elsewhere += missing + outside
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
    _copy_together(ledger, {path: folder / path.name for path in own.values()})
    found = [source(name, folder / path.name) for name, path in own.items()]
    elsewhere = []
    if not owns_ledger(home):
        file = sqlite_file(home.ledger)
        how = "copy it with `sqlite3 FILE '.backup COPY'`" if file else "back it up with its server's own tools"
        elsewhere.append(f"the ledger, at {ledger.place}: {how}, at the same time")
    if not owns_mlflow(home):
        elsewhere.append(redacted(f"MLflow, at {home.tracking_uri}, with its artifacts: use its own tools, at the same time"))
    return found, elsewhere


def _copy_together(ledger: Ledger, copies: Mapping[Path, Path]) -> None:
    """Copy databases, in this order, so that no champion moves and no alias begins or ends to move in between.

    Raises:
        StoreError: if that cannot be, or champions keep moving.
    """
    for _ in range(ATTEMPTS):
        before = ledger.moves()
        for path, copy in copies.items():
            try:
                copy_database(path, copy, PATIENCE_SECONDS)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(
                    f"cannot copy {path}: {error}. Free disk space, or close the program that locks it."
                ) from error
        if ledger.moves() == before:
            return
    raise StoreError("champions were promoted all the time. Run the backup again.")


def _copied(home: Home, folder: Path) -> Ledger:
    """The copy of the ledger; the ledger itself if that is elsewhere."""
    return Ledger(sqlite_url(folder / "ledger.db") if owns_ledger(home) else home.ledger)


def _alive(home: Home, locks: Locks, folder: Path) -> Alive:
    """What the copy of the ledger needs, if it was copied."""
    ledger = _copied(home, folder)
    model = next(iter(ledger.models()), "")  # all champions of all models are kept
    return Cleanup(home, model, NEEDED_ONLY, ledger, lambda: open_tracker(home, locks, model), time.time(), math.inf).alive()


def _datasets(home: Home, alive: Alive) -> tuple[list[Source], list[str]]:
    """The objects of the datasets, from DVC's cache or else the local remote; and a line for each that is in neither."""
    found: dict[str, Source] = {}
    missing = []
    for name in alive.datasets:
        try:
            found |= {one.name: one for one in _objects(home, name)}
        except FileNotFoundError:
            others = "" if owns_ledger(home) else ", unless another project of this ledger made it"
            missing.append(
                f"dataset {name} is neither in DVC's cache nor in the local remote; `ratchet data pull` may have it{others}"
            )
    return list(found.values()), missing


def _artifacts(home: Home, locks: Locks, folder: Path) -> tuple[list[Source], list[str]]:
    """MLflow's artifacts, with the hashes of the champions' models; and a line for each champion that is elsewhere.

    Raises:
        StoreError: if a file of a champion's model is missing.
    """
    recorded, outside = _champions(home, locks, _copied(home, folder))
    found = [replace(one, sha256=recorded.get(one.path)) for one in _below("mlflow/artifacts", home.artifacts)]
    if missing := sorted(recorded.keys() - {one.path for one in found}):
        raise StoreError(f"{missing[0]} of a champion is missing, or is a link. Restore it, and run the backup again.")
    return found, outside


def _champions(home: Home, locks: Locks, ledger: Ledger) -> tuple[dict[Path, str], list[str]]:
    """sha256 of each file of the champions' models, as their manifests have it; and a line for each that is elsewhere."""
    recorded: dict[Path, str] = {}
    outside = []
    for model, number in sorted({(model, row.version) for model, row in ledger.promotions()}):
        tracker = open_tracker(home, locks, model)
        if tracker.lacks_files(tracker.version(model, number)):
            continue  # retention deleted them
        place = tracker.place(model, number)
        if place is None:
            outside.append(f"the files of version {number} of {model} are outside of {home.artifacts}")
            continue
        artifact = home.artifacts / place / "artifacts"
        files = read_json(artifact / "served_manifest.json")["files"]
        recorded |= {artifact / "model" / name: digest for name, digest in files.items()}
    return recorded, outside


def _objects(home: Home, version: str) -> list[Source]:
    """
    Raises:
        FileNotFoundError: if an object of the version is in neither place.
    """
    listing = _object(home, version)
    return [listing, *(_object(home, name) for name in versioning.listed(listing.path))]


def _object(home: Home, name: str) -> Source:
    place = Path("files", "md5", name[:2], name[2:])
    path = next((home.dvc / root / place for root in ("cache", "remote") if (home.dvc / root / place).is_file()), None)
    if path is None:
        raise FileNotFoundError(name)
    return source(f"state/dvc/cache/{place.as_posix()}", path, md5=name.removesuffix(".dir"))


def _stage(name: str, folder: Path) -> Iterator[Source]:
    """The files of a finished stage, each with the hash that its manifest gives it."""
    files = read_json(folder / MANIFEST)["files"]
    yield source(f"{name}/{MANIFEST}", folder / MANIFEST)
    for file, digest in sorted(files.items()):
        yield source(f"{name}/{file}", folder / file, sha256=digest)


def _below(name: str, folder: Path) -> Iterator[Source]:
    """The files of a folder, which need not exist."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield source(f"{name}/{path.relative_to(folder).as_posix()}", path)


def _linked(home: Home, folder: Path) -> Path:
    """A folder with links to the complete checkpoints of trainings, because a run deletes its older ones meanwhile."""
    target = folder / "checkpoints"
    for work in sorted(home.store.glob("*/.work.*")):
        place = target / work.parent.name / work.name
        _link(work, place)
        _drop_incomplete(place)
    return target


def _link(work: Path, target: Path) -> None:
    """Links to the files below a folder, as far as they stay there."""
    for folder, inner, names in os.walk(work):  # which takes no notice of a folder that vanishes
        inner[:] = [name for name in inner if not name.startswith((".tmp.", "corrupt."))]
        place = target / Path(folder).relative_to(work)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            with suppress(FileNotFoundError):
                _link_or_copy(Path(folder, name), place / name)


def _link_or_copy(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(path, place)


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
