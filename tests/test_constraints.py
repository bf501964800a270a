"""The lock of a project, and where the installed libraries are not the lock's."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from ratchet.components.constraints import PINNED, installed_constraints, lock_digest, off_lock


def test_the_lock_digest_is_that_of_the_constraints(tmp_path: Path) -> None:
    assert lock_digest(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\n", encoding="utf-8")
    assert lock_digest(tmp_path) == hashlib.sha256(b"numpy==2.1.0\n").hexdigest()


def test_a_library_off_the_lock_is_named_and_a_local_build_is_not(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\ntorch==2.10.0\npeft==1.0 ; extra\n", encoding="utf-8")
    installed = {"numpy": "2.2.0", "torch": "2.10.0+cpu", "peft": "1.0", "scipy": "1"}
    assert off_lock(tmp_path, installed) == {"numpy": "2.1.0"}


def test_what_is_installed_is_pinned_without_the_suffix_of_a_build() -> None:
    pinned = dict(PINNED.findall(installed_constraints()))
    assert pinned["numpy"] == version("numpy")
    assert pinned["ratchet-rl"] == version("ratchet-rl")
    assert pinned["torch"] == version("torch").partition("+")[0]
    assert not any("+" in one for one in pinned.values())
    assert list(pinned) == sorted(pinned)
