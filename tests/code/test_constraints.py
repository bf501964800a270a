"""The lock of a project, and where the installed libraries are not the lock's."""

import hashlib
import sys
from pathlib import Path

import pytest

from ratchet.components.code.constraints import installed_constraints, installed_versions, lock_digest, off_lock, pins


def test_the_lock_digest_is_that_of_the_constraints(tmp_path: Path) -> None:
    assert lock_digest(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\n", encoding="utf-8")
    assert lock_digest(tmp_path) == hashlib.sha256(b"numpy==2.1.0\n").hexdigest()


def test_a_library_off_the_lock_is_named_and_a_local_build_is_not(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\ntorch==2.10.0\npeft==1.0 ; extra\n", encoding="utf-8")
    installed = {"numpy": "2.2.0", "torch": "2.10.0+cpu", "peft": "1.0", "scipy": "1"}
    assert off_lock(tmp_path, installed) == {"numpy": "2.1.0"}


def fake_library(folder: Path, name: str, number: str, **files: str) -> None:
    place = folder / f"{name}-{number}.dist-info"
    place.mkdir(parents=True)
    for file, text in {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n", **files}.items():
        (place / file.replace("_json", ".json")).write_text(text, encoding="utf-8")


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed: a library twice, one from a folder, a build, the rest of an interrupted installation, and Ratchet."""
    fake_library(tmp_path / "first", "Twice_There", "2.0")
    fake_library(tmp_path / "second", "twice-there", "1.0")
    fake_library(tmp_path / "first", "torch", "2.13.0+cpu")
    fake_library(tmp_path / "first", "mine", "0.1", direct_url_json='{"url": "file:///home/me/mine"}')
    fake_library(tmp_path / "first", "ratchet-rl", "0.4.0")
    (tmp_path / "first" / "broken-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])


@pytest.mark.usefixtures("libraries")
def test_what_an_index_has_is_pinned_once_and_nothing_else() -> None:
    _, *lines = installed_constraints().splitlines()
    assert lines == ["torch==2.13.0", "twice-there==2.0", "# mine 0.1: not from an index"]
    assert installed_versions() == {"twice-there": "2.0", "torch": "2.13.0+cpu", "mine": "0.1", "ratchet-rl": "0.4.0"}


def test_only_pins_are_asked_of_an_index() -> None:
    text = "# x==1\ntorch==2.13.0+cpu\n-e git+https://h/x#egg=y\nratchet-rl==0.1\nz @ file:///z.whl\nA_b==3 ; extra\n"
    assert pins(text) == "torch==2.13.0\na-b==3\n"
