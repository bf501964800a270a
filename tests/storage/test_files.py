"""Files are written whole or not at all, and hashed so that any change shows."""

import hashlib
import json
import math
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.errors import StoreError
from ratchet.components.storage import files
from ratchet.components.storage.digests import digest_of_digests, file_digest
from ratchet.components.storage.files import (
    MANIFEST,
    commit_directory,
    copy_database,
    read_json,
    read_json_lines,
    tree_digests,
    verify_directory,
    write_json,
    write_json_lines,
    write_text,
)
from ratchet.components.storage.json_text import without_nan

texts = st.text(st.characters(exclude_categories=["Cs"]))


def fill(path: Path) -> None:
    (path / "deep").mkdir()
    (path / "a.txt").write_text("first", encoding="utf-8")
    (path / "deep" / "b.txt").write_text("second", encoding="utf-8")


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    return commit_directory(tmp_path / "done", fill, {"answer": 42})


def test_writing_replaces_the_old_text_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "note", "old")
    write_text(tmp_path / "new" / "note", "fresh")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"note": "fresh"}


def test_a_reader_of_the_old_text_goes_on_reading_it(tmp_path: Path) -> None:
    write_text(tmp_path / "note", "old")
    with (tmp_path / "note").open() as reader:
        write_text(tmp_path / "note", "fresh")
        assert reader.read() == "old"


def test_a_failed_write_keeps_the_old_text_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "note", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "note", "\ud800")  # a lone surrogate has no UTF-8 form
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"note": "old"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": value})
    assert read_json(tmp_path / "x.json") == 1


def test_equal_values_are_written_as_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1, "b": 2})
    write_json(tmp_path / "y.json", {"b": 2, "a": 1})
    assert file_digest(tmp_path / "x.json") == file_digest(tmp_path / "y.json")


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff"], ids=["absent", "empty", "truncated", "not UTF-8"])
def test_unreadable_json_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


@given(st.lists(st.dictionaries(texts, texts | st.integers() | st.none())))
def test_json_lines_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    write_json_lines(path, rows)
    assert read_json_lines(path) == rows


def test_json_lines_are_sorted_by_key_and_end_in_a_line_feed(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "rows.jsonl", [{"b": 1, "a": "é\u2028"}])
    assert (tmp_path / "rows.jsonl").read_bytes() == '{"a": "é\u2028", "b": 1}\n'.encode()


def test_a_file_is_named_by_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert file_digest(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_one_digest_stands_for_a_set_of_files_in_any_order() -> None:
    expected = hashlib.sha256(b"a 1\nb 2\n").hexdigest()
    assert digest_of_digests({"b": "2", "a": "1"}) == expected


def test_a_tree_lists_files_at_any_depth_but_not_its_manifest(committed: Path) -> None:
    assert set(tree_digests(committed)) == {"a.txt", "deep/b.txt"}


def test_links_count_as_their_files_where_a_caller_says_so(committed: Path, tmp_path: Path) -> None:
    shutil.copytree(committed, tmp_path / "linked")
    name = next(iter(tree_digests(committed)))
    (tmp_path / "linked" / name).rename(tmp_path / "linked" / "moved")
    (tmp_path / "linked" / name).symlink_to(tmp_path / "linked" / "moved")
    found = tree_digests(tmp_path / "linked", linked=True)
    assert found.pop("moved") == found[name]
    assert found == tree_digests(committed)


@pytest.mark.parametrize("target", ["a.txt", "deep", "/etc/hostname", "nowhere"])
def test_a_symbolic_link_in_a_tree_is_refused(committed: Path, target: str) -> None:
    (committed / "link").symlink_to(target)
    with pytest.raises(StoreError, match="link is a symbolic link"):
        tree_digests(committed)


def test_a_committed_directory_verifies_and_gives_back_its_facts(committed: Path) -> None:
    assert verify_directory(committed)["answer"] == 42


def test_damage_is_reported_by_the_files_it_touched(committed: Path) -> None:
    (committed / "deep" / "b.txt").write_text("other", encoding="utf-8")
    with pytest.raises(StoreError, match=r"deep/b\.txt differ") as caught:
        verify_directory(committed)
    assert "a.txt" not in str(caught.value)


@pytest.mark.parametrize("manifest", [[], {}, {"files": None}, {"files": [1]}, {"files": "a"}])
def test_a_manifest_of_the_wrong_shape_is_damage(committed: Path, manifest: object) -> None:
    (committed / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(StoreError, match="damaged"):
        verify_directory(committed)


def test_a_directory_appears_by_a_rename_of_the_one_that_was_written(tmp_path: Path) -> None:
    written = []
    target = commit_directory(tmp_path / "done", lambda path: written.append(path.stat().st_ino), {})
    assert written == [target.stat().st_ino]


def test_every_directory_is_synced_before_the_rename_and_those_above_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)

    def write(path: Path) -> None:
        (path / "checkpoints" / "step_000020" / "model").mkdir(parents=True)
        (path / "checkpoints" / "step_000020" / "model" / "a.txt").write_text("a", encoding="utf-8")

    target = commit_directory(tmp_path / "store" / "train" / "key", write, {})
    assert {tmp_path, tmp_path / "store", target.parent} <= set(synced)
    temporary = next(path for path in synced if path.name.startswith(".tmp."))
    here = {temporary / path.relative_to(target) for path in (target, *target.rglob("*")) if path.name != MANIFEST}
    assert here <= set(synced)


def test_a_directory_that_fails_to_be_written_does_not_appear(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        fill(path)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        commit_directory(tmp_path / "done", fail, {})
    assert list(tmp_path.iterdir()) == []


def test_the_second_of_two_commits_leaves_the_first_in_place(committed: Path) -> None:
    commit_directory(committed, lambda path: None, {"answer": 0})
    assert verify_directory(committed)["answer"] == 42
    assert [path.name for path in committed.parent.iterdir()] == ["done"]


def test_numbers_that_are_not_finite_become_null() -> None:
    given = {"a": [1.5, math.nan, {"b": (math.inf, "nan", 2)}], "c": True}
    assert without_nan(given) == {"a": [1.5, None, {"b": [None, "nan", 2]}], "c": True}


def test_faults_a_copy_of_a_database_that_stays_locked_ends(tmp_path: Path) -> None:
    source, target = tmp_path / "a#?.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t (x)")
        copy_database(source, target)
        assert target.stat().st_size == source.stat().st_size
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises((TimeoutError, sqlite3.OperationalError), match="locked"):
            copy_database(source, tmp_path / "other.db", seconds=0.3)
    assert time.monotonic() - began < 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a#?.db", "copy.db"]
