"""Digests of files that are asked for again and again."""

import os
from pathlib import Path

import pytest

from ratchet.components.storage import digests
from ratchet.components.storage.digests import file_digest, kept_digest


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, hashed = tmp_path / "rows.jsonl", list[Path]()
    monkeypatch.setattr(digests, "file_digest", lambda path: hashed.append(path) or file_digest(path))
    file.write_text("one", encoding="utf-8")
    assert [kept_digest(file) for _ in range(2)] == [file_digest(file)] * 2
    assert len(hashed) == 2  # written a moment ago: the next edit may leave its times as they are
    monkeypatch.setattr(digests, "SETTLED", 0)
    assert [kept_digest(file) for _ in range(2)] == [file_digest(file)] * 2
    assert len(hashed) == 3
    before = file.stat()
    file.write_text("two", encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns - 1))
    assert kept_digest(file) == file_digest(file)
