"""The gold of ratchet.yaml on the first rows of its data, which have no references. Run by pytest."""

from pathlib import Path

import pytest

from ratchet.testing import JudgedRow, judged_rows


@pytest.fixture(scope="module")
def rows() -> list[JudgedRow]:
    return judged_rows(Path(__file__).parents[1], count=50)


def test_each_answer_is_judged(rows: list[JudgedRow]) -> None:
    assert [row for row in rows if row.empty.grade.score is None] == []


def test_an_empty_answer_is_wrong(rows: list[JudgedRow]) -> None:
    assert [row for row in rows if row.empty.right] == []
