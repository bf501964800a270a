"""Locks among processes, what is deleted beside them, and the place that a run's lock is."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from ratchet.components.project import locks as module
from ratchet.components.project.locks import Locks


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    return Locks(tmp_path / "locks")


def test_a_lock_is_held_by_one_at_a_time(locks: Locks) -> None:
    with locks.computing(), pytest.raises(Timeout):
        FileLock(locks.folder / "computing.lock").acquire(timeout=0)
    FileLock(locks.folder / "computing.lock").acquire(timeout=0).lock.release()


def test_an_error_releases_the_lock(locks: Locks) -> None:
    with pytest.raises(ZeroDivisionError), locks.computing():
        raise ZeroDivisionError
    FileLock(locks.folder / "computing.lock").acquire(timeout=0).lock.release()


def test_whoever_waits_is_told_and_then_gets_the_lock(tmp_path: Path) -> None:
    order: list[str] = []
    locks = Locks(tmp_path, order.append)

    def second() -> None:
        with locks.held("name", "waiting"):
            order.append("second")

    with locks.held("name", "never said"):
        thread = threading.Thread(target=second)
        thread.start()
        while not order:
            pass
        order.append("first ends")
    thread.join(10)
    assert order == ["waiting", "first ends", "second"]


def test_nothing_is_deleted_while_something_is_in_use(locks: Locks) -> None:
    with locks.working("one", "waiting"), locks.deleting() as free:
        assert not free


def test_a_released_lock_does_not_count_as_use(locks: Locks) -> None:
    with locks.working("one", "waiting"):
        pass
    with locks.deleting() as free:
        assert free


def test_no_run_begins_while_something_is_deleted(locks: Locks) -> None:
    with locks.deleting(), pytest.raises(Timeout):  # every run takes this lock once before it begins
        FileLock(locks.folder / "gc.lock").acquire(timeout=0)


def test_two_deletions_exclude_each_other(locks: Locks) -> None:
    with locks.deleting(), locks.deleting() as second:
        assert not second


def place(locks: Locks) -> str:
    with locks.working("0123", "waiting"):
        return locks.place("0123")


def test_a_place_is_the_very_lock_and_not_a_copy(tmp_path: Path) -> None:
    """Whoever restores or clones the directory takes no live run over."""
    first = place(Locks(tmp_path / "one"))
    assert len(first) == 32
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert place(Locks(tmp_path / "one")) == first != place(Locks(tmp_path / "copy"))
    (tmp_path / "one").rename(tmp_path / "moved")
    assert place(Locks(tmp_path / "moved")) == first


def test_a_killed_process_was_in_the_same_place(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ratchet.components.project.locks import Locks\n"
        "locks = Locks(Path(sys.argv[1]))\n"
        "with locks.working('0123', ''):\n"
        "    (locks.folder / 'place').write_text(locks.place('0123')); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -9
    assert place(Locks(tmp_path)) == (tmp_path / "place").read_text()


def test_a_place_is_another_on_another_machine(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place(locks)
    monkeypatch.setattr(module, "boot", lambda: "another machine's")
    assert place(locks) != first


def test_a_boot_has_one_name() -> None:
    assert module.boot() == module.boot()
