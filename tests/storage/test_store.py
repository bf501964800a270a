"""A stage is finished when its manifest says so: whole, verified, and whatever happens to the process that writes it."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ratchet.components.errors import StoreError
from ratchet.components.storage.files import MANIFEST
from ratchet.components.storage.store import Finished, Store, check_writable, stage_key

FILES = {"weights": "weights of a model", "log/steps": "1 2 3"}


def write(path: Path) -> None:
    for name, text in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")


def commit(store: Store, writer: Callable[[Path], None] = write) -> Finished:
    return store.commit("train", "k1", writer, {"steps": 3})


def content(finished: Finished) -> dict[str, str]:
    return {name: (finished.path / name).read_text(encoding="utf-8") for name in FILES}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_stage_that_was_never_made_is_not_found(store: Store) -> None:
    assert store.find("train", "k1") is None


def test_a_committed_stage_is_found_with_its_facts_and_files(store: Store) -> None:
    made = commit(store)
    found = store.find("train", "k1")
    assert found == made
    assert found is not None
    assert found.facts["steps"] == 3
    assert content(found) == FILES


def test_the_digest_of_a_stage_depends_on_its_files_alone(store: Store) -> None:
    digests = {store.commit("train", key, write, {"steps": int(key)}).digest for key in "12"}
    assert len(digests) == 1
    assert store.commit("train", "3", lambda path: (path / "weights").touch(), {}).digest not in digests


def test_a_commit_drops_the_work_in_progress(store: Store) -> None:
    store.work("train", "k1").mkdir(parents=True)
    commit(store)
    assert not store.work("train", "k1").exists()


# Crashes

CHILD = """
import sys
from pathlib import Path
from ratchet.components.storage.store import Store
Store(Path(sys.argv[1])).commit("train", "k1", lambda path: (path / "weights").write_text("whole"), {})
"""


def killed_at(point: int, root: Path) -> bool:
    """Commit in a process of its own that is killed at a crash point; False where it has no such point."""
    environment = {**os.environ, "RATCHET_KILL_AT": str(point)}
    done = subprocess.run([sys.executable, "-c", CHILD, str(root)], env=environment, check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


def test_a_process_killed_at_any_point_leaves_all_or_nothing_and_a_rerun_commits(tmp_path: Path) -> None:
    for point in itertools.count(1):
        store = Store(tmp_path / str(point))
        killed = killed_at(point, store.root)
        found = store.find("train", "k1")
        assert found is None or (found.path / "weights").read_text() == "whole"
        again = store.commit("train", "k1", lambda path: (path / "weights").write_text("whole"), {})
        assert (again.path / "weights").read_text() == "whole"
        if not killed:
            break
    assert point > 3  # files, manifest and rename have a point each


def test_processes_that_commit_one_key_together_agree_on_one_directory(store: Store) -> None:
    everybody = threading.Barrier(4)

    def write_together(path: Path) -> None:
        write(path)
        everybody.wait()

    with ThreadPoolExecutor(4) as pool:
        finished = list(pool.map(lambda _: commit(store, write_together), range(4)))
    assert len({f.digest for f in finished}) == 1
    assert [path.name for path in (store.root / "train").iterdir()] == ["k1"]


# Damage


def truncate(path: Path) -> None:
    os.truncate(path / "weights", 5)


def flip_one_bit(path: Path) -> None:
    content = bytearray((path / "weights").read_bytes())
    content[3] ^= 1
    (path / "weights").write_bytes(content)


def remove(path: Path) -> None:
    (path / "log" / "steps").unlink()


def add(path: Path) -> None:
    (path / "log" / "extra").touch()


def replace_by_link(path: Path) -> None:
    (path / "weights").rename(path.parent / "elsewhere")
    (path / "weights").symlink_to(path.parent / "elsewhere")


def truncate_manifest(path: Path) -> None:
    os.truncate(path / MANIFEST, 20)


def remove_manifest(path: Path) -> None:
    (path / MANIFEST).unlink()


DAMAGE = [truncate, flip_one_bit, remove, add, replace_by_link, truncate_manifest, remove_manifest]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_stage_is_set_aside_and_made_again(store: Store, damage: Callable[[Path], None]) -> None:
    damage(commit(store).path)
    assert store.find("train", "k1") is None
    assert [path.name[:11] for path in (store.root / "train").glob("corrupt.*")] == ["corrupt.k1."]
    assert content(commit(store)) == FILES


@pytest.mark.parametrize(("stage", "key"), [("train", "k2"), ("reward", "k1")])
def test_a_stage_copied_to_another_place_is_not_that_stage(store: Store, stage: str, key: str) -> None:
    shutil.copytree(commit(store).path, store.path(stage, key))
    assert store.find(stage, key) is None


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EMFILE, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("name", ["os.scandir", "io.open"])
def test_faults_what_cannot_be_read_now_stays_and_the_cause_is_raised(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    made = commit(store)

    def fail(path: object, *arguments: object, **named: object) -> object:
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(name, fail)
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            store.find("train", "k1")
        assert not isinstance(raised.value, StoreError)
    assert store.find("train", "k1") == made
    assert [path.name for path in store.root.rglob("corrupt.*")] == []


def test_a_stage_that_writes_a_symbolic_link_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="symbolic link"):
        commit(store, lambda path: (path / "passwords").symlink_to("/etc/passwd"))
    assert list((store.root / "train").iterdir()) == []


# Disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_a_failing_disk_is_reported_and_leaves_nothing_half_written(store: Store, code: int) -> None:
    def fail(path: Path) -> None:
        write(path)
        raise OSError(code, os.strerror(code))

    with pytest.raises(StoreError, match=f"{os.strerror(code)}.*RATCHET_HOME"):
        commit(store, fail)
    assert list((store.root / "train").iterdir()) == []


def test_an_error_without_a_number_is_reported_by_its_text(store: Store) -> None:
    def fail(path: Path) -> None:
        raise ConnectionError("the hub hung up")

    with pytest.raises(StoreError, match="the hub hung up"):
        commit(store, fail)


def test_a_store_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        commit(Store(tmp_path / "file" / "store"))


def test_a_writable_place_passes_the_probe_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_cannot_be_written_fails_the_probe_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="RATCHET_HOME"):
        check_writable(tmp_path / "file" / "home")


# Keys


def test_a_key_changes_with_each_of_its_parts() -> None:
    parts = ["train", {"k": 8}, {"data": "d1"}, "c1"]
    others = ["eval", {"k": 9}, {"data": "d2"}, "c2"]
    keys = {stage_key(*parts)}
    keys |= {stage_key(*parts[:i], others[i], *parts[i + 1 :]) for i in range(4)}
    assert len(keys) == 5


def test_a_key_does_not_change_with_the_order_in_which_its_parts_are_named() -> None:
    one = stage_key("train", {"k": 8, "lr": 1.0}, {"data": "d", "policy": "p"}, "c")
    assert one == stage_key("train", {"lr": 1.0, "k": 8}, {"policy": "p", "data": "d"}, "c")
