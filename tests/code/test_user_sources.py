"""A user's own reward function is known by the code that it may run."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from ratchet.components.code.user_sources import function_digests, source_digests
from ratchet.components.errors import RecipeError
from ratchet.components.storage.digests import file_digest

PACKAGE = "ratchet_test_rewards"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / PACKAGE).mkdir()
    for name in ("__init__", "judge", "helper"):
        (tmp_path / PACKAGE / f"{name}.py").write_text(f"{name} = 1\n", encoding="utf-8")
    (tmp_path / "ratchet_test_alone.py").write_text("def judge(): ...\n", encoding="utf-8")
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def source(project: Path, function: str) -> dict[str, str]:
    return function_digests([function])


@pytest.mark.parametrize("name", ["judge", "helper", "__init__"])
def test_an_edit_anywhere_in_the_functions_package_is_another_source(project: Path, name: str) -> None:
    before = source(project, f"{PACKAGE}.judge:judge")
    (project / PACKAGE / f"{name}.py").write_text("changed = 1\n", encoding="utf-8")
    assert source(project, f"{PACKAGE}.judge:judge") != before


@pytest.mark.parametrize("function", ["ratchet_test_alone:judge", "ratchet_test_alone.py:judge"])
@pytest.mark.parametrize("text", ["import helpers.texts", "def judge():\n    from helpers import texts"])
def test_an_edit_of_a_helper_that_a_helper_imports_is_another_source(
    project: Path, function: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "ratchet_test_alone.py").write_text(text, encoding="utf-8")
    (project / "helpers").mkdir()
    (project / "helpers" / "texts.py").write_text("from .more import low\n", encoding="utf-8")
    (project / "helpers" / "more.py").write_text("low = 1\n", encoding="utf-8")
    before = source(project, function)
    assert [name.rpartition("judge/")[2] for name in before] == ["helpers/more.py", "helpers/texts.py", "ratchet_test_alone.py"]
    (project / "unrelated.py").write_text("x = 1\n", encoding="utf-8")
    assert source(project, function) == before
    (project / "helpers" / "more.py").write_text("low = 2\n", encoding="utf-8")
    assert source(project, function) != before


def test_an_edit_of_a_file_that_a_function_reads_is_another_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "prices.csv").write_text("1", encoding="utf-8")
    function = f"{PACKAGE}.judge:judge"
    before = function_digests([function], reads=["prices.csv"])
    read = {("reward_file/prices.csv", file_digest(project / "prices.csv"))}
    assert before.items() - function_digests([function]).items() == read
    (project / "prices.csv").write_text("12", encoding="utf-8")
    assert function_digests([function], reads=["prices.csv"]) != before


def test_files_of_one_name_outside_the_project_are_all_counted(project: Path) -> None:
    (project / "place").mkdir()
    (project / "place" / "ratchet.yaml").touch()
    (project / PACKAGE / "inner").mkdir()
    (project / PACKAGE / "inner" / "__init__.py").touch()
    with chdir(project / "place"):
        before = source_digests(f"{PACKAGE}.judge:judge")
    assert sorted(before) == ["__init__.py", "helper.py", "inner/__init__.py", "judge.py"]


def test_what_an_installed_module_imports_is_not_followed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = project / "site-packages"
    installed.mkdir()
    (installed / "ratchet_test_installed.py").write_text("import ratchet_test_library\n", encoding="utf-8")
    (installed / "ratchet_test_library.py").touch()
    monkeypatch.syspath_prepend(installed)
    assert list(source_digests("ratchet_test_installed:judge")) == ["ratchet_test_installed.py"]


def test_faults_nothing_of_the_users_code_runs_to_find_its_files(project: Path) -> None:
    (project / PACKAGE / "__init__.py").write_text("import sys; sys.exit(0)\n", encoding="utf-8")
    assert len(source(project, f"{PACKAGE}.judge:judge")) == 3
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]


def test_a_file_by_its_path_is_found_from_the_projects_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "ratchet.yaml").touch()
    monkeypatch.chdir(project / PACKAGE)
    found = source(project, "ratchet_test_alone.py:judge")
    assert list(found.values()) == [file_digest(project / "ratchet_test_alone.py")]


@pytest.mark.parametrize("function", ["absent.py:f", "absent:f", f"{PACKAGE}.absent:f", ".mine:f", ":f", "", "judge"])
def test_faults_a_function_without_a_source_file_is_refused_by_name(project: Path, function: str) -> None:
    with pytest.raises(RecipeError, match=r"^the function .*Write module:function or path/to/file\.py:function"):
        source(project, function)
