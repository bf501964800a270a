"""Durable files: hash them, write them whole, commit a directory by renaming it."""

import json
import os
import platform
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ratchet.components.errors import StoreError
from ratchet.components.faults import point
from ratchet.components.storage.digests import digest_of, digest_of_digests, file_digest, weights_digest

MANIFEST = "manifest.json"
COPY_SECONDS = 20.0  # at most, by default, for a copy of a SQLite file that others use
SQLITE_DONE = 101  # https://sqlite.org/rescode.html#done
COPY_PAGES = 25_000  # at once, in which others cannot write; of 4 KiB
NOT_POLICY = ("*.md", "LICENSE*", ".git*")  # files beside a policy that cannot change what it says
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
WRITTEN = ("transformers_version", "_from_model_config")  # keys of settings in which transformers records how a file was made
READ_FROM = ("_name_or_path", "name_or_path", "_commit_hash", "is_local", "local_files_only", "tokenizer_file", "vocab_file")


def tree_digests(root: Path, digest: Callable[[Path], str] = file_digest, linked: bool = False) -> dict[str, str]:
    """Relative path -> sha256 of every file below ``root`` except its manifest.

    Args:
        digest: gives the sha256 of a file.
        linked: whether links within the tree, or within its repository of the hub's cache, count as their files.

    Raises:
        StoreError: if there is another symbolic link, which could point out of the tree.
    """
    if linked:
        require_inner_links(root)
    digests = {}
    for path in sorted(_below(root)):
        if path.is_symlink() and not linked:
            raise StoreError(f"{path} is a symbolic link. Replace it with the file itself.")
        if path.is_file() and path != root / MANIFEST:
            digests[path.relative_to(root).as_posix()] = digest(path)
    return digests


def _below(root: Path) -> Iterator[Path]:
    """Everything in a tree. ``rglob`` passes over folders that it may not read now, whose files would seem to be missing."""
    for folder, folders, names in os.walk(root, onerror=_unless_gone):
        yield from (Path(folder, name) for name in (*folders, *names))


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def require_inner_links(root: Path) -> None:
    """Accept links to files in the same tree only; a snapshot of the hub's cache has its files in its repository's ``blobs``.

    Raises:
        StoreError: naming the link that leads elsewhere, and where.
    """
    tree = root.resolve()
    snapshot = tree.parent.name == "snapshots" and tree.parent.parent.name.startswith("models--")
    within = tree.parent.parent / "blobs" if snapshot else tree
    for path in sorted(path for path in root.rglob("*") if path.is_symlink()):
        target = path.resolve()
        if not target.is_file() or not (target.is_relative_to(within) or target.is_relative_to(tree)):
            raise StoreError(f"{path} is a link to {target}, not to a file of the same model. Replace it with the file itself.")


def files_below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    """The files of a folder, by paths relative to it: relative path -> sha256. All of them are below ""."""
    prefix = f"{folder}/" if folder else ""
    return {name.removeprefix(prefix): digest for name, digest in files.items() if name.startswith(prefix)}


def model_weights(model: Path) -> str:
    """The weights digest of a model's directory, as a stage that holds it in ``model/`` has it."""
    return weights_digest({f"model/{name}": digest for name, digest in tree_digests(model).items()})


def policy_digest(model: Path, digests: Mapping[str, str] | None = None) -> str:
    """sha256 of all that changes what a policy says: weights, config, tokenizer, chat templates and ends of sequence.

    Where a settings file comes from, the release that wrote it and its formatting do not count: a policy that is loaded and
    saved again keeps its digest.

    Args:
        digests: of its files, if they are known: relative path -> sha256.
    """
    files = tree_digests(model) if digests is None else digests
    kept = {name: digest for name, digest in files.items() if not any(fnmatch(Path(name).name, p) for p in NOT_POLICY)}
    return digest_of_digests(kept | {name: _settings_digest(model / name, kept[name]) for name in SETTINGS if name in kept})


def _settings_digest(path: Path, otherwise: str) -> str:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # damaged, so that its bytes identify it
        return otherwise
    known = isinstance(settings, dict)
    return digest_of({k: v for k, v in settings.items() if k not in WRITTEN + READ_FROM} if known else settings)


def make_directory(folder: Path) -> None:
    """Make a directory, and those above it, whose names are then on the disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync(one.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file's content at once: a reader sees the old text or the new one."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write canonical, readable JSON; NaN is refused: where a figure may be that, the caller says so by ``without_nan``."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON that Ratchet wrote.

    Raises:
        StoreError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}. Delete it; it will be created again.") from error


def copy_database(source: Path, target: Path, seconds: float = COPY_SECONDS) -> None:
    """Copy a SQLite file as its last transaction left it, while others use it; ``target`` is replaced, whole or not at all.

    Raises:
        sqlite3.Error, OSError: if it cannot be read or written.
        TimeoutError: if it was locked, or kept changing, for so many seconds.
    """
    deadline = time.monotonic() + seconds

    def watch(status: int, remaining: int, total: int) -> None:
        if status != SQLITE_DONE and time.monotonic() > deadline:  # sqlite3 itself would try for ever
            raise TimeoutError(f"{source} was locked, or kept changing, for {seconds:g} s")

    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    url = f"{source.absolute().as_uri()}?mode=rw"  # not read-only: what a killed process left is rolled back first
    try:
        with (
            closing(sqlite3.connect(url, uri=True, timeout=seconds)) as reader,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            reader.backup(copy, pages=COPY_PAGES, progress=watch, sleep=0.05)
        sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line, keys sorted, so that equal content gives equal bytes."""
    encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(encode(row) + "\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read what ``write_json_lines`` wrote."""
    return list(iterate_json_lines(path))


def iterate_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows that ``write_json_lines`` wrote, one at a time."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def commit_directory(target: Path, write: Callable[[Path], None], facts: Mapping[str, Any]) -> Path:
    """Write a directory with its manifest and make it appear at ``target`` atomically.

    Files are written next to the target and synced with their directories, the manifest (``facts`` plus every file's sha256)
    comes last, then one rename commits. If ``target`` already exists (another process was first), this one is dropped.
    """
    make_directory(target.parent)
    temporary = scratch_directory(target.parent, f".tmp.{target.name}")
    try:
        write(temporary)
        digests = tree_digests(temporary)
        folders = [path for path in _below(temporary) if path.is_dir()]
        for path in (*(temporary / name for name in digests), *folders, temporary):
            sync(path)
        point(f"commit:{target.name}:files")
        write_json(temporary / MANIFEST, {**facts, "files": digests})
        point(f"commit:{target.name}:manifest")
        try:
            temporary.rename(target)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
        sync(target.parent)
        point(f"commit:{target.name}:renamed")
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def scratch_directory(parent: Path, prefix: str) -> Path:
    """A fresh directory ``<prefix>.<host>.<pid>.<random>``; those left by killed processes of this machine are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    host = platform.node() or "localhost"
    for old in left_behind(parent, f"{prefix}.{host}."):
        shutil.rmtree(old, ignore_errors=True)
    fresh = parent / f"{prefix}.{host}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    fresh.mkdir(mode=0o700)
    return fresh


def left_behind(parent: Path, beginning: str = "") -> list[Path]:
    """Scratch directories below ``parent`` whose processes, of this machine, are gone.

    Args:
        beginning: ``<prefix>.<host>.`` of the names to look at; without it those of every prefix.
    """
    host = platform.node() or "localhost"
    names = {path: path.name.rpartition(f".{host}.")[2].partition(".")[0] for path in sorted(parent.glob(f"{beginning}*"))}
    return [path for path, pid in names.items() if f".{host}." in path.name and pid.isdigit() and not _is_alive(int(pid))]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def verify_directory(root: Path) -> dict[str, Any]:
    """The manifest of a committed directory, after hashing every file again.

    Raises:
        StoreError: if a file is missing, changed, or not in the manifest.
        OSError: if something cannot be read now, which proves none.
    """
    manifest = _manifest(root / MANIFEST)
    actual = tree_digests(root)
    recorded = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(recorded, dict) or actual != recorded:
        known = recorded if isinstance(recorded, dict) else {}
        names = set(actual.items()) ^ {(str(name), str(digest)) for name, digest in known.items()}
        changed = ", ".join(sorted({name for name, _ in names})[:5])
        raise StoreError(
            f"{root} is damaged: {changed} differ from its manifest. Delete that directory; it will be created again."
        )
    return dict(manifest)


def _manifest(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise StoreError(
            f"{path.parent} is damaged: its {MANIFEST} is missing or no JSON. Delete that directory; it will be created again."
        ) from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
