"""A table's rows are read one by one, as a list's would be."""

from pathlib import Path

import pytest

from ratchet.components.storage import table
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.table import Table

ROWS = [{"id": f"{number}", "prompt": "x" * number + "é\u2028"} for number in range(50)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_json_lines(tmp_path / "train.jsonl", ROWS)
    return tmp_path / "train.jsonl"


@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_rows_are_those_written(path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BLOCK", block)
    rows = Table(path)
    assert (len(rows), list(rows), rows[3], rows[-1]) == (50, ROWS, ROWS[3], ROWS[-1])
    assert (rows[:4], rows[45:99], rows[::-7]) == (ROWS[:4], ROWS[45:99], ROWS[::-7])


@pytest.mark.parametrize("place", [50, -51])
def test_a_row_that_is_not_there_is_refused(path: Path, place: int) -> None:
    with pytest.raises(IndexError):
        Table(path)[place]


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "guard.jsonl", [])
    assert list(Table(tmp_path / "guard.jsonl")) == []


def test_rows_can_be_read_when_the_file_is_gone(path: Path) -> None:
    rows = Table(path)
    path.unlink()
    assert rows[7] == ROWS[7]
