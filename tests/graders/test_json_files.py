"""What a JSON file of the recipe may be; that it is named if it is no JSON is in the tests of its readers."""

from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.graders.json_files import read_json_file


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_text(f'"{"x" * 999_998}"', encoding="utf-8")
    assert len(read_json_file(path, "Give another.")) == 999_998
    path.write_text(f'"{"x" * 999_999}"', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"^key: \S*big\.json has 1000001 bytes, more than 1000000\. Give another\.$"):
        read_json_file(path, "Give another.", key="key: ")
