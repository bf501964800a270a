"""The gold of ratchet.yaml on the first rows of its data. Run by pytest."""

from pathlib import Path

import pytest

from ratchet.testing import JudgedRow, judged_rows


@pytest.fixture(scope="module")
def rows() -> list[JudgedRow]:
    return judged_rows(Path(__file__).parents[1], count=50)


def test_there_are_references(rows: list[JudgedRow]) -> None:
    assert any(row.reference is not None for row in rows)


def test_the_reference_of_each_row_is_right(rows: list[JudgedRow]) -> None:
    assert [row for row in rows if row.reference is not None and not row.reference.right] == []


def test_an_empty_answer_is_wrong(rows: list[JudgedRow]) -> None:
    assert [row for row in rows if row.empty.right] == []


def test_the_reference_of_another_row_is_wrong(rows: list[JudgedRow]) -> None:
    assert [row for row in rows if row.other is not None and row.other.right] == []
