"""The class of a machine, its libraries, and where they are not the lock's."""

import hashlib
from pathlib import Path

from ratchet.components.provenance.machine import installed_libraries, lock_digest, machine_class, off_lock


def test_the_machine_has_a_processor_and_the_recipes_threads() -> None:
    found = machine_class(3)
    assert found["threads"] == 3
    assert all(found[name] for name in ("system", "architecture", "processor", "kernels"))


def test_without_threads_in_the_recipe_torch_decides() -> None:
    assert machine_class(0)["threads"] >= 1


def test_libraries_are_those_that_decide_what_comes_out() -> None:
    assert {"python", "torch", "transformers", "numpy"} <= set(installed_libraries())


def test_the_lock_digest_is_that_of_the_constraints(tmp_path: Path) -> None:
    assert lock_digest(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\n", encoding="utf-8")
    assert lock_digest(tmp_path) == hashlib.sha256(b"numpy==2.1.0\n").hexdigest()


def test_a_library_off_the_lock_is_named_and_a_local_build_is_not(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\ntorch==2.10.0\npeft==1.0 ; extra\n", encoding="utf-8")
    installed = {"numpy": "2.2.0", "torch": "2.10.0+cpu", "peft": "1.0", "scipy": "1"}
    assert off_lock(tmp_path, installed) == {"numpy": "2.1.0"}
