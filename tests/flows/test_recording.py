"""Leases between processes, and a run's identity."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from ratchet.components.home import Home
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.stage import Context
from ratchet.flows import recording
from ratchet.flows.recording import flatten, identity_of, lease, place_of, working
from tests.places import MICRO


def identity(tmp_path: Path, *overrides: str) -> str:
    return identity_of(Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path)))


def test_a_lease_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "leases" / "machine.lock"
    with lease(Home(tmp_path, tmp_path), "machine", "waiting"), pytest.raises(Timeout):
        FileLock(place).acquire(timeout=0)
    FileLock(place).acquire(timeout=0).lock.release()


def test_a_lease_is_freed_by_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    with pytest.raises(ZeroDivisionError), lease(home, "machine", "waiting"):
        raise ZeroDivisionError
    FileLock(tmp_path / "leases" / "machine.lock").acquire(timeout=0).lock.release()


def test_the_identity_depends_on_every_value_of_the_recipe(tmp_path: Path) -> None:
    same = identity(tmp_path), identity(tmp_path, "train.lr=2e-3")
    assert same[0] == same[1]  # the value that the recipe has already
    assert identity(tmp_path, "train.lr=1e-3") != same[0]


IDENTITY = "0123456789abcdef" * 4


def place(home: Home) -> str:
    with working(home, IDENTITY[:16], "waiting"):
        return place_of(home, IDENTITY)


def test_a_place_is_the_very_lock_and_not_a_copy(tmp_path: Path) -> None:
    """Whoever restores or clones the directory takes no live run over."""
    one, copy = Home(tmp_path, tmp_path / "one"), Home(tmp_path, tmp_path / "copy")
    first = place(one)
    assert len(first) == 32
    shutil.copytree(one.state, copy.state)
    assert place(one) == first != place(copy)
    one.state.rename(tmp_path / "moved")
    assert place(Home(tmp_path, tmp_path / "moved")) == first


def test_whoever_was_killed_here_was_in_the_same_place(tmp_path: Path) -> None:
    home, file = Home(tmp_path, tmp_path), tmp_path / "place"
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ratchet.components.home import Home; from ratchet.flows.recording import *\n"
        "folder, identity = Path(sys.argv[1]), sys.argv[2]; home = Home(folder, folder)\n"
        "with working(home, identity[:16], ''):\n"
        "    (folder / 'place').write_text(place_of(home, identity)); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), IDENTITY], check=False, timeout=60)
    assert done.returncode == -9
    assert place(home) == file.read_text()


def test_a_place_is_another_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, tmp_path)
    first = place(home)
    monkeypatch.setattr(recording, "boot", lambda: "another machine's")
    assert place(home) != first


def test_a_boot_has_one_name() -> None:
    assert recording.boot() == recording.boot()


def test_flatten_joins_sections_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}
