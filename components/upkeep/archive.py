"""The file of a backup: a tar of plain files, and last in it ``manifest.json`` with the sha256 of each.

Members are below ``state/`` (what is in ``.ratchet/``), ``mlflow/`` (database and artifacts) and ``project/`` (pointers).
"""

import hashlib
import io
import json
import os
import re
import stat
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import IO, Any

from ratchet.components.data.pointers import NAMES
from ratchet.components.errors import BackupError, StoreError
from ratchet.components.storage.disk import MIB, free_bytes
from ratchet.components.storage.files import sync
from ratchet.components.text import visible

FORMAT = 1
MANIFEST = "manifest.json"  # its last member
MAX_MANIFEST = 256 * MIB
RECORD = 10_240  # bytes, of which the size of a tar is a multiple
PLACES = {  # first and second part of a member's name
    "state": re.compile(r"version|ledger\.db|store|dvc|reports"),
    "mlflow": re.compile(r"mlflow\.db|artifacts"),
    "project": NAMES,
}


@dataclass(frozen=True)
class Source:
    """A file that goes into a backup."""

    name: str  # in it
    path: Path
    size: int  # bytes
    sha256: str | None = None  # that a record gives it
    md5: str | None = None


@dataclass(frozen=True)
class Member:
    """A file as the manifest has it."""

    sha256: str
    bytes: int


def source(name: str, path: Path, sha256: str | None = None, md5: str | None = None) -> Source:
    """A file, with its size now."""
    return Source(name, path, path.stat().st_size, sha256, md5)


def archive_size(sources: Sequence[Source]) -> int:
    """An upper bound of a backup's bytes, above it by little."""
    headers = sum(1536 + len(os.fsencode(one.name)) for one in sources)  # and an extended one, for the fraction of its time
    contents = sum(-(-one.size // 512) * 512 for one in sources)
    manifest = sum(160 + len(json.dumps(one.name)) for one in sources)
    return headers + contents + manifest + 2 * RECORD


def write_archive(target: Path, sources: Sequence[Source], facts: Mapping[str, Any]) -> int:
    """Write a backup; it appears at ``target`` whole or not at all. Only its owner may read it: it has sealed items.

    Args:
        facts: more for the manifest.

    Returns:
        Its size in bytes.

    Raises:
        StoreError: if the disk is too small, or a file changed while it was read.
    """
    needed, free = archive_size(sources), free_bytes(target.parent)
    sizes = f"{target} takes about {needed / MIB:,.1f} MiB, and its disk has {free / MIB:,.1f} MiB free"
    short = f"{sizes}. Free space, or name a file on another disk."
    if needed > free:
        raise StoreError(short)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            _write(file, sources, facts)
            os.fsync(file.fileno())
        temporary.rename(target)
        sync(target.parent)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StoreError(short) from error
        raise StoreError(f"cannot write {target}: {error}. No file was left; correct that and try again.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


def _write(file: IO[bytes], sources: Sequence[Source], facts: Mapping[str, Any]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        files = {one.name: _add(tar, one) for one in sources}
        manifest = {"format": FORMAT, **facts, "files": files}
        text = json.dumps(manifest, sort_keys=True).encode()
        tar.addfile(_header(MANIFEST, len(text), time.time()), io.BytesIO(text))


def _add(tar: tarfile.TarFile, one: Source) -> dict[str, Any]:
    with one.path.open("rb") as file:
        found = os.fstat(file.fileno())
        assert stat.S_ISREG(found.st_mode)
        reader = _Hashing(file)
        try:
            tar.addfile(_header(one.name, found.st_size, found.st_mtime), reader)  # exactly so many bytes, if it grows
        except OSError as error:
            if error.errno is not None:
                raise
            raise StoreError(f"{one.path} changed while it was read. Run the backup again.") from error  # it became shorter
        digest, md5 = reader.digest.hexdigest(), reader.md5.hexdigest()
        if one.sha256 not in (None, digest) or one.md5 not in (None, md5):
            raise StoreError(
                f"{one.path} is damaged: it is not what its record says. Restore it, or delete it if nothing needs it."
            )
        return {"sha256": digest, "bytes": found.st_size}


def _header(name: str, size: int, modified: float) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size, modified, 0o600
    return header


class _Hashing(io.RawIOBase):
    """A reader that hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.md5 = file, hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        self.md5.update(data)
        return data


def read_archive(archive: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Extract a backup below empty folders, and compare every file with the manifest, which is returned.

    Args:
        folders: for each of ``state``, ``mlflow`` and ``project``.

    Raises:
        BackupError: if it is not a whole backup, a file is not what the manifest says, or a name could lead out of the folder.
        StoreError: if it cannot be read, its files cannot be written, or it is of a later release.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            found, manifest = _extracted(tar, folders)
    except tarfile.TarError as error:
        raise BackupError(f"{archive} is not a whole backup: {error}. Use another one.") from error
    except OSError as error:
        raise StoreError(f"cannot read {archive}, or write its files: {error}. Correct that and try again.") from error
    recorded = _recorded(archive, manifest)
    wrong = sorted({name for name, _ in set(found.items()) ^ set(recorded.items())})
    if wrong:
        names = ", ".join(visible(name) for name in wrong[:3])
        raise BackupError(
            f"{archive} is damaged: {len(wrong)} files, the first {names}, are not what its manifest says. Use another one."
        )
    return dict(manifest)


def _extracted(tar: tarfile.TarFile, folders: Mapping[str, Path]) -> tuple[dict[str, Member], Any]:
    found: dict[str, Member] = {}
    manifest: Any = None
    for header in tar:
        if manifest is not None:
            raise tarfile.TarError("something follows its manifest")
        if not header.isreg() or header.issparse():
            raise tarfile.TarError(f"{visible(header.name)!r} is not a plain file")
        if header.name == MANIFEST:
            manifest = _parsed(tar, header)
            continue
        place, rest = _place(header.name)
        # After our own checks, the standard library's, as a second line of defence.
        if hasattr(tarfile, "data_filter"):  # since Python 3.11.4
            tarfile.data_filter(header.replace(name=rest, deep=False), str(folders[place]))
        found[header.name] = _extract(tar, header, folders[place] / rest)
    for folder in folders.values():
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sync(path)
    return found, manifest


def _place(name: str) -> tuple[str, str]:
    """Of a member's name, its place and the rest.

    Raises:
        tarfile.TarError: if it could lead out of there, or there is no such place.
    """
    place, _, rest = name.partition("/")
    parts = rest.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise tarfile.TarError(f"the name {visible(name)!r} could lead out of the project")
    if place not in PLACES or not PLACES[place].fullmatch(parts[0]):
        raise tarfile.TarError(f"{visible(name)!r} is in no place of a backup")
    return place, rest


def _extract(tar: tarfile.TarFile, header: tarfile.TarInfo, path: Path) -> Member:
    reader, digest, size = tar.extractfile(header), hashlib.sha256(), 0
    assert reader is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # a name that comes twice is an error
        while block := reader.read(MIB):
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    if size != header.size:
        raise tarfile.TarError("unexpected end of data")
    with suppress(OverflowError, ValueError):  # by which retention knows when a stage was last used
        os.utime(path, (header.mtime, header.mtime))
    return Member(digest.hexdigest(), size)


def _parsed(tar: tarfile.TarFile, header: tarfile.TarInfo) -> Any:
    if header.size > MAX_MANIFEST:
        raise tarfile.TarError("its manifest is too large")
    reader = tar.extractfile(header)
    assert reader is not None
    try:
        return json.loads(reader.read())
    except (ValueError, RecursionError) as error:
        raise tarfile.TarError(f"its manifest is not JSON ({error})") from error


def _recorded(archive: Path, manifest: Any) -> dict[str, Member]:
    """
    Raises:
        BackupError: if there is no manifest, or it is not one.
        StoreError: if it is of a later release.
    """
    if isinstance(manifest, dict) and isinstance(manifest.get("format"), int) and manifest["format"] > FORMAT:
        raise StoreError(f"{archive} is of a later release than this one. Upgrade: pip install --upgrade ratchet-rl.")
    try:
        assert manifest["format"] == FORMAT
        return {name: Member(str(one["sha256"]), int(one["bytes"])) for name, one in manifest["files"].items()}
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{archive} has no manifest, so it is not a whole backup. Use another one.") from error
