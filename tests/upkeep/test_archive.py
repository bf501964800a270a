"""A backup's file is written whole or not at all, and nothing of it is used that is not what its manifest says."""

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import BackupError, StoreError
from ratchet.components.upkeep import archive
from ratchet.components.upkeep.archive import Source, archive_size, read_archive, source, write_archive

FILES = {
    "state/version": b"1\n",
    "state/store/train/key/model.safetensors": bytes(range(256)) * 5000,
    "state/store/train/key/empty": b"",
    "mlflow/artifacts/" + "long name/" * 30 + "é#?%.txt": b"x",
    "project/data.dvc": b"outs: []\n",
}


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    (tmp_path / "from").mkdir()
    found = []
    for number, (name, content) in enumerate(FILES.items()):
        path = tmp_path / "from" / str(number)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000.25, 1_700_000_000.25))
        found.append(source(name, path))
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "b.tar"


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and every file that was extracted."""
    folders = {name: path.parent / "read" / name for name in archive.PLACES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    manifest = read_archive(path, folders)
    root = path.parent / "read"
    return manifest, {one.relative_to(root).as_posix(): one.read_bytes() for one in root.rglob("*") if one.is_file()}


def test_what_was_written_is_read(sources: Sequence[Source], target: Path) -> None:
    size = write_archive(target, sources, {"made": "today"})
    assert 0 <= archive_size(sources) - size < 0.05 * size + 30_000
    assert target.stat().st_mode & 0o777 == 0o600
    manifest, files = read(target)
    assert (manifest["made"], files) == ("today", FILES)
    assert (target.parent / "read" / "state" / "version").stat().st_mtime == 1_700_000_000.25


def meanwhile(patch: pytest.MonkeyPatch, one: Source, change: Callable[[Path], Any]) -> None:
    """Change a file once it is open and its size is known."""

    def fstat(descriptor: int) -> os.stat_result:
        found = before(descriptor)
        if os.path.samestat(found, one.path.stat()):
            change(one.path)
        return found

    before = os.fstat
    patch.setattr(archive.os, "fstat", fstat)


def test_a_file_that_grows_while_it_is_read_counts_as_it_was(sources: list[Source], target: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        meanwhile(patch, sources[1], lambda path: path.open("ab").write(b"more"))
        write_archive(target, sources, {})
    assert read(target)[1] == FILES


def test_faults_a_file_that_shrinks_while_it_is_read(sources: list[Source], target: Path, monkeypatch: Any) -> None:
    meanwhile(monkeypatch, sources[1], lambda path: os.truncate(path, 10))
    with pytest.raises(StoreError, match=r"from/1 changed while it was read\. Run the backup again"):
        write_archive(target, sources, {})
    assert list(target.parent.iterdir()) == []


def test_faults_a_disk_that_is_too_small_is_named_before_anything_is_written(
    sources: Sequence[Source], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "free_bytes", lambda _: 1_000_000)
    with pytest.raises(StoreError, match=r"takes about 1\.3 MiB, and its disk has 1\.0 MiB free"):
        write_archive(target, sources, {})
    assert list(target.parent.iterdir()) == []


def test_faults_a_disk_that_fills_meanwhile_leaves_no_file(
    sources: Sequence[Source], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(StoreError, match=r"takes about .* MiB, and its disk has .* MiB free.*another disk"):
        write_archive(target, sources, {})
    assert list(target.parent.iterdir()) == []


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def rewritten(path: Path, change: Change) -> None:
    """The file, after its members were changed by hand."""
    with tarfile.open(path) as tar:
        members = [(header, file.read()) for header in tar if (file := tar.extractfile(header)) is not None]
    change(members)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for header, data in members:
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    return header, b""


def manifest(**values: Any) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        header, text = members.pop()
        members.append((header, json.dumps({**json.loads(text), **values}).encode()))

    return change


def content(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], members[1][1][:-1] + b"!")


CHANGES: dict[str, tuple[Change, str]] = {
    "content": (content, r"1 files, the first state/store/train/key/model\.safetensors, are not what its manifest says"),
    "missing": (lambda m: m.pop(0) and None, "1 files, the first state/version, are not what its manifest says"),
    "another": (
        lambda m: m.insert(0, member("state/store/y")),
        "1 files, the first state/store/y, are not what its manifest says",
    ),
    "no manifest": (lambda m: m.pop() and None, "has no manifest"),
    "after the manifest": (lambda m: m.append(member("state/store/x")), "something follows its manifest"),
    "twice": (lambda m: m.insert(1, member("state/version")), "File exists"),
    "up": (lambda m: m.insert(0, member("state/../../x")), r"the name 'state/\.\./\.\./x' could lead out of the project"),
    "root": (lambda m: m.insert(0, member("/etc/x")), "is in no place of a backup"),
    "root of a place": (lambda m: m.insert(0, member("state//etc/x")), "could lead out of the project"),
    "elsewhere": (lambda m: m.insert(0, member("state/server/token")), "'state/server/token' is in no place of a backup"),
    "recipe": (lambda m: m.insert(0, member("project/ratchet.yaml")), "is in no place of a backup"),
    "link": (lambda m: m.insert(0, member("state/store", tarfile.SYMTYPE, "/etc")), "'state/store' is not a plain file"),
    "hard link": (lambda m: m.insert(0, member("state/store", tarfile.LNKTYPE, "/etc/passwd")), "is not a plain file"),
    "device": (lambda m: m.insert(0, member("state/store", tarfile.CHRTYPE)), "is not a plain file"),
    "pipe": (lambda m: m.insert(0, member("state/store", tarfile.FIFOTYPE)), "is not a plain file"),
    "folder": (lambda m: m.insert(0, member("state/store", tarfile.DIRTYPE)), "is not a plain file"),
    "later": (manifest(format=2), "is of a later release than this one. Upgrade"),
    "no format": (manifest(format=None), "has no manifest"),
    "no files": (manifest(files=[]), "has no manifest"),
    "no hash": (manifest(files={"state/version": 1}), "has no manifest"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_faults_a_backup_that_was_changed(sources: Sequence[Source], target: Path, name: str) -> None:
    change, cause = CHANGES[name]
    write_archive(target, sources, {})
    rewritten(target, change)
    with pytest.raises(StoreError, match=cause):
        read(target)
    assert list(target.parents[1].rglob("x")) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_faults_a_backup_that_was_cut(sources: Sequence[Source], target: Path, share: float) -> None:
    size = write_archive(target, sources, {})
    os.truncate(target, int(share * size) // 512 * 512 + 100)
    with pytest.raises(BackupError, match="is not a whole backup"):
        read(target)


def test_faults_a_file_that_is_no_tar(target: Path) -> None:
    target.write_bytes(b"\x1f\x8b not a tar" * 1000)
    with pytest.raises(BackupError, match="is not a whole backup"):
        read(target)
