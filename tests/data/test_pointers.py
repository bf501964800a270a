"""A pointer is read strictly: it says which version, and nothing that could lead elsewhere."""

from pathlib import Path

import pytest

from ratchet.components.data.pointers import (
    POINTER,
    Place,
    added_rows,
    pinned_version,
    place_of,
    places,
    relocated,
    write_pointer,
)
from ratchet.components.errors import DataError

MD5 = "0123456789abcdef0123456789abcdef.dir"
GOOD = f"outs:\n- md5: {MD5}\n  size: 12\n  nfiles: 2\n  hash: md5\n  path: data\n"


def test_a_project_without_a_pointer_pins_nothing(tmp_path: Path) -> None:
    assert pinned_version(Place(tmp_path), "recipe") is None


def test_a_pointer_pins_the_version_of_its_own_recipe_alone(tmp_path: Path) -> None:
    (tmp_path / POINTER).write_text(GOOD)
    assert pinned_version(Place(tmp_path), "recipe") is None
    write_pointer(tmp_path / POINTER, recipe_data="recipe")
    assert pinned_version(Place(tmp_path), "recipe") == MD5
    assert pinned_version(Place(tmp_path), "another") is None


BAD_POINTERS = {
    "empty": "",
    "not YAML": "outs: [",
    "a list": "- outs",
    "no outputs": "outs: []",
    "two outputs": GOOD + f"- md5: {MD5}\n  path: other\n",
    "no md5": "outs:\n- path: data\n",
    "not an md5": GOOD.replace(MD5, "../../etc"),
    "md5 and a line": GOOD.replace(MD5, '"0123456789abcdef0123456789abcdef\\n"'),
    "another path": GOOD.replace("path: data", "path: ../data"),
    "an object": "!!python/object/apply:os.getcwd []",
    "another folder to work in": GOOD + "wdir: ../elsewhere\n",
    "something to fetch": GOOD + "deps:\n- path: http://169.254.169.254/\n",
    "a command": GOOD + "cmd: id\n",
    "meta of another shape": GOOD + "meta: [1]\n",
    "meta of another type": GOOD + "meta: {recipe_data: 5}\n",
    "meta that nobody knows": GOOD + "meta: {colour: blue}\n",
    "long": GOOD + "#" * 20_000,
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("text", BAD_POINTERS.values(), ids=BAD_POINTERS.keys())
def test_a_file_that_is_no_plain_pointer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / POINTER).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"(?s)data\.dvc.*git checkout"):
        pinned_version(Place(tmp_path), "recipe")


def test_a_pointer_says_how_many_rows_were_added(tmp_path: Path) -> None:
    (tmp_path / POINTER).write_text(GOOD)
    assert added_rows(tmp_path / POINTER) == 0
    write_pointer(tmp_path / POINTER, recipe_data="recipe", added=3)
    assert added_rows(tmp_path / POINTER) == 3


def placed(project: Path, recipe: str, configuration: str = "recipe") -> str:
    return place_of(project, recipe, configuration).pointer.name


def pointer(path: Path, **meta: str | int) -> None:
    path.write_text(GOOD.replace("path: data", f"path: {path.name.removesuffix('.dvc')}"), encoding="utf-8")
    write_pointer(path, **meta)


def test_faults_two_recipes_have_a_pointer_each(tmp_path: Path) -> None:
    assert placed(tmp_path, "one") == "data.dvc"
    pointer(tmp_path / POINTER, recipe_data="recipe", recipe="one")
    assert (placed(tmp_path, "one"), placed(tmp_path, "two")) == ("data.dvc", "data.two.dvc")
    pointer(tmp_path / "data.two.dvc", recipe_data="recipe", recipe="two")
    assert [place.name for place in places(tmp_path)] == ["data", "data.two"]
    assert place_of(tmp_path, "two", "recipe").data == tmp_path / "data.two"


@pytest.mark.parametrize("file", ["ratchet.yaml", "recipes/quickstart.yaml"])
def test_the_default_recipe_has_data_dvc(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("name: one\n", encoding="utf-8")
    assert (placed(tmp_path, "one"), placed(tmp_path, "two")) == ("data.dvc", "data.two.dvc")


def test_a_pointer_of_an_older_release_stays_its_recipes(tmp_path: Path) -> None:
    pointer(tmp_path / POINTER, recipe_data="recipe")
    assert (placed(tmp_path, "mine"), placed(tmp_path, "mine", "edited since")) == ("data.dvc", "data.dvc")
    (tmp_path / "ratchet.yaml").write_text("name: one\n", encoding="utf-8")
    assert (placed(tmp_path, "mine"), placed(tmp_path, "other", "other data")) == ("data.dvc", "data.other.dvc")


def test_a_pointer_to_another_folder_than_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.two.dvc").write_text(GOOD, encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.two\.dvc is not a plain pointer to data\.two/"):
        Place(tmp_path, "data.two").text()


def test_records_keep_a_pointer_as_a_workspace_has_it(tmp_path: Path) -> None:
    pointer(tmp_path / "data.two.dvc", recipe_data="recipe", added=2, recipe="two")
    pointer(tmp_path / POINTER, recipe_data="recipe", added=2)
    assert Place(tmp_path, "data.two").text() == Place(tmp_path).text() == (tmp_path / POINTER).read_text(encoding="utf-8")
    assert "recipe: two" in relocated({"outs": [{"md5": MD5, "path": "data"}]}, "data.two", "two")
