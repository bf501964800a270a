"""A digest changes with the sources that a module needs, and with no others."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from ratchet.components.code import source_code
from ratchet.components.code.source_code import NOT_INSTALLED, closure, closure_digest, release_beside, sources_digest

SOURCES = {
    "__init__.py": "",
    "top.py": "import json\nfrom ratchet.components.part import near\n\ndef late():\n    import ratchet.components.lazy\n",
    "part/__init__.py": "",
    "part/near.py": "from ratchet.components.leaf import value\n",
    "part/beside.py": "",
    "lazy.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ratchet.components.typed\n",
    "leaf.py": "value = 1\nfrom ratchet.components import top\n",
    "typed.py": "",
    "notes.txt": "",
    "part/page.html.j2": "",
    "aside/page.html.j2": "",
}
NEEDED = {"__init__.py", "top.py", "part/__init__.py", "part/near.py", "lazy.py", "leaf.py", "notes.txt", "part/page.html.j2"}
TOP = "ratchet.components.top"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(source_code, "ROOT", tmp_path)
    return tmp_path


def test_a_module_needs_what_it_imports_inside_functions_too_round_a_circle_and_the_templates_beside_it(root: Path) -> None:
    assert {path.relative_to(root).as_posix() for path in closure(TOP)} == NEEDED


def test_what_is_left_out_is_not_followed(root: Path) -> None:
    without = closure(TOP, ["ratchet.components.part.near"])
    assert {path.relative_to(root).as_posix() for path in without} == NEEDED - {"part/near.py", "leaf.py"}


@pytest.mark.parametrize("name", SOURCES)
def test_the_digest_changes_with_the_needed_sources_alone(root: Path, name: str) -> None:
    before = closure_digest.__wrapped__(TOP)
    with (root / name).open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    assert (closure_digest.__wrapped__(TOP) != before) == (name in NEEDED)


def test_an_added_import_is_counted(root: Path) -> None:
    (root / "leaf.py").write_text("import ratchet.components.part.beside\n", encoding="utf-8")
    assert root / "part" / "beside.py" in closure(TOP)


@pytest.mark.parametrize(("name", "changes"), [("typed.py", True), ("notes.txt", False)])
def test_all_sources_have_one_digest(root: Path, name: str, changes: bool) -> None:
    before = sources_digest.__wrapped__()
    (root / name).write_text("x = 2\n", encoding="utf-8")
    assert (sources_digest.__wrapped__() != before) == changes


def test_only_the_code_of_a_clone_is_the_projects_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "ROOT", tmp_path / "clone" / "components")
    assert release_beside(tmp_path / "clone") is None
    assert release_beside(tmp_path / "mine") == version("ratchet-rl")
    (tmp_path / "mine" / "components").mkdir(parents=True)  # a package of the user's, named as ours
    assert release_beside(tmp_path / "mine") == version("ratchet-rl")


def test_code_that_is_not_installed_has_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert release_beside(tmp_path) == NOT_INSTALLED
