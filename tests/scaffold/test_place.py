"""Where a project may be, what it is called, and how it refers to files."""

from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError, StoreError
from ratchet.components.recipe import Recipe
from ratchet.components.scaffold.place import check_folder, check_rows_place, notes_on, project_name, reference_to


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("demo", "demo"),
        ("My tickets (2026)", "My-tickets-2026"),
        ("Ünïcode", "Unicode"),
        ("_private_", "private"),
        ("工单", "project"),
        ("a" * 80, "a" * 64),
        ("a#b?c%25", "a-b-c-25"),
        ("/", "project"),
    ],
)
def test_a_projects_name_is_one_that_the_registry_takes(folder: str, name: str) -> None:
    assert project_name(Path(folder)) == name
    Recipe.model_validate({"name": name, "gate": {"rules": {}}})


def test_a_file_inside_is_relative_and_one_outside_absolute(tmp_path: Path) -> None:
    project = tmp_path / "project"
    assert reference_to(project / "rows" / "a b.csv", project) == "rows/a b.csv"
    assert reference_to(tmp_path / "rows.csv", project) == str(tmp_path / "rows.csv")
    project.mkdir()
    (tmp_path / "link").symlink_to(project)
    assert reference_to(tmp_path / "link" / "rows.csv", project) == "rows.csv"


def test_faults_rows_in_the_folder_of_versions_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"data/rows\.csv is in data/"):
        check_rows_place("data/rows.csv")
    check_rows_place("rows/data/rows.csv")


def test_odd_characters_that_work_are_taken(tmp_path: Path) -> None:
    check_folder(tmp_path / "a b#c?d%2" / "new")


@pytest.mark.parametrize("name", ["a%25b", "a{b}", "a\nb"])
def test_faults_a_path_that_a_library_cannot_use_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="Choose another folder"):
        check_folder(tmp_path / name)


def test_faults_a_file_and_a_folder_below_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "project"):
        with pytest.raises(RecipeError, match="file is not a folder"):
            check_folder(folder)


def test_faults_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(RecipeError, match="cannot be written to"):
        check_folder(tmp_path / "project")


def test_a_project_above_and_a_missing_repository_are_told(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert list(notes_on(tmp_path / "a")) == []
    (tmp_path / "ratchet.yaml").touch()
    (note,) = notes_on(tmp_path / "a" / "b")
    assert f"{tmp_path} is a project too" in note
    assert list(notes_on(tmp_path / "a" / ".." / ".." / tmp_path.name / ".." / "beside")) == [
        "there is no git repository: `git init` and commit before the first run, so that `ratchet reproduce` can train "
        "its version again"
    ]
    (tmp_path / ".git").rmdir()
    assert any("no git repository" in note for note in notes_on(tmp_path / "a"))
