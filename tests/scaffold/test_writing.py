"""Files are written all or not at all, and never over another content."""

import os
from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.scaffold.writing import IGNORED, ignore_state, missing, require_free, with_ignored, write_files

FILES = {"ratchet.yaml": b"name: x\n", "tests/test_graders.py": b"# tests\n", "rows.bin": b"\xff\x00"}


def there(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".ratchet" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_files_are_written_once_and_are_then_there(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    require_free(folder, FILES)
    write_files(folder, missing(folder, FILES))
    assert there(folder) == FILES
    require_free(folder, FILES)
    assert missing(folder, FILES) == {}
    assert list((folder / ".ratchet" / "workspaces").iterdir()) == []


def test_faults_another_content_is_shown_as_a_difference_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "ratchet.yaml").write_text("name: mine\n")
    (tmp_path / "rows.bin").write_bytes(b"\xfe")
    with pytest.raises(RecipeError) as caught:
        require_free(tmp_path, FILES)
    assert caught.value.exit_code == 2
    assert "-name: mine\n+name: x" in str(caught.value)
    assert "rows.bin: 1 bytes there, 2 other ones" in str(caught.value)
    assert set(there(tmp_path)) == {"ratchet.yaml", "rows.bin"}


@pytest.mark.parametrize(("name", "message"), [("tests", "tests is not a folder"), (".ratchet", ".ratchet is not a folder")])
def test_faults_a_file_where_a_folder_is_to_be_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RecipeError, match=message):
        require_free(tmp_path, FILES)


@pytest.mark.parametrize("name", ["ratchet.yaml", ".gitignore"])
def test_faults_a_folder_or_a_broken_link_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(RecipeError, match=f"{name} is not a file"):
        require_free(tmp_path, FILES)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=f"{name} is not a file"):
        require_free(tmp_path, FILES)


def test_faults_after_a_kill_in_between_the_rest_is_written_and_the_recipe_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    real = os.link

    def killed(temporary: Path, path: Path) -> None:
        if len(named) == 2:
            raise KeyboardInterrupt
        named.append(path.name)
        real(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            write_files(tmp_path, FILES)
    assert set(there(tmp_path)) == set(FILES) - {"ratchet.yaml"}
    require_free(tmp_path, FILES)
    write_files(tmp_path, missing(tmp_path, FILES))
    assert there(tmp_path) == FILES


def test_faults_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    absent = missing(tmp_path, FILES)
    (tmp_path / "rows.bin").write_bytes(b"mine")
    with pytest.raises(RecipeError, match=r"rows\.bin appeared meanwhile"):
        write_files(tmp_path, absent)
    assert (tmp_path / "rows.bin").read_bytes() == b"mine"


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*paths: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    write_files(tmp_path, FILES)
    assert there(tmp_path) == FILES


@pytest.mark.parametrize("before", [b"", b"*.pyc\n", b"*.pyc", b"# mine\r\n*.pyc\r\n", b"\xff\n"])
def test_lines_are_appended_once_and_what_was_there_stays(before: bytes) -> None:
    once = with_ignored(before)
    assert once.startswith(before)
    assert [line.decode() for line in once[len(before) :].split() if line] == list(IGNORED)
    assert with_ignored(once) == once
    assert b"\r\n" in before or b"\r" not in once


def test_lines_that_are_there_in_another_form_are_not_repeated() -> None:
    assert with_ignored(b".ratchet\n/mlflow/artifacts\n").split() == [
        *(b".ratchet", b"/mlflow/artifacts", b"mlflow/mlflow.db*", b"/data/", b"/data.*/", b".venv/", b"*.log")
    ]


def test_a_linked_gitignore_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".gitignore").symlink_to(tmp_path / "shared")
    assert ignore_state(tmp_path / "project")
    assert (tmp_path / "shared").read_text().startswith("a\n.ratchet/\n")
    assert (tmp_path / "project" / ".gitignore").is_symlink()
    assert not ignore_state(tmp_path / "project")
