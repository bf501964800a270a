"""A pointer is read strictly: it says which version, and nothing that could lead elsewhere."""

from pathlib import Path

import pytest

from ratchet.components.data.pointers import POINTER, added_rows, pinned_version, write_pointer
from ratchet.components.errors import DataError

MD5 = "0123456789abcdef0123456789abcdef.dir"
GOOD = f"outs:\n- md5: {MD5}\n  size: 12\n  nfiles: 2\n  hash: md5\n  path: data\n"


def test_a_project_without_a_pointer_pins_nothing(tmp_path: Path) -> None:
    assert pinned_version(tmp_path, "recipe") is None


def test_a_pointer_pins_the_version_of_its_own_recipe_alone(tmp_path: Path) -> None:
    (tmp_path / POINTER).write_text(GOOD)
    assert pinned_version(tmp_path, "recipe") is None
    write_pointer(tmp_path / POINTER, recipe_data="recipe")
    assert pinned_version(tmp_path, "recipe") == MD5
    assert pinned_version(tmp_path, "another") is None


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
        pinned_version(tmp_path, "recipe")


def test_a_pointer_says_how_many_rows_were_added(tmp_path: Path) -> None:
    (tmp_path / POINTER).write_text(GOOD)
    assert added_rows(tmp_path / POINTER) == 0
    write_pointer(tmp_path / POINTER, recipe_data="recipe", added=3)
    assert added_rows(tmp_path / POINTER) == 3
