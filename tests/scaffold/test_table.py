"""The first rows of a file of any form, read with as little as is needed."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.scaffold.table import Column, read_table
from tests.scaffold.rows import sums, tickets, write_csv, write_jsonl


def test_a_csv_file_has_its_columns_in_order(tmp_path: Path) -> None:
    table = read_table(tickets(tmp_path / "tickets.csv"))
    assert list(table.columns) == ["id", "body", "queue"]
    assert (table.source, table.whole, table.size) == ({"kind": "csv", "delimiter": ","}, True, 60)
    assert table.columns["queue"].values[:3] == ("billing", "delivery", "repair")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_the_one_between_the_names(tmp_path: Path, delimiter: str) -> None:
    table = read_table(write_csv(tmp_path / "a.csv", ("text", "label"), [("x, y", "a")], delimiter))
    assert (table.source["delimiter"], list(table.columns)) == (delimiter, ["text", "label"])


def test_of_a_large_file_the_first_rows_are_read_and_the_others_estimated(tmp_path: Path) -> None:
    table = read_table(sums(tmp_path / "sums.jsonl", 5_000), most=500)
    assert (len(table.rows), table.whole) == (500, False)
    assert table.size == pytest.approx(5_000, rel=0.05)


def test_parquet_says_how_many_rows_it_has(tmp_path: Path) -> None:
    pl.DataFrame({"text": [f"t{n}" for n in range(300)]}).write_parquet(tmp_path / "rows.parquet")
    table = read_table(tmp_path / "rows.parquet", most=10)
    assert (len(table.rows), table.whole, table.size) == (10, False, 300)


def test_a_file_without_a_known_suffix_is_recognised_by_its_beginning(tmp_path: Path) -> None:
    assert read_table(write_jsonl(tmp_path / "rows.txt", [{"a": "b"}])).source == {"kind": "jsonl"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, ""], "text"),
        ([None, " "], "empty"),
        ([1, 2.5], "number"),
        ([True, False], "flag"),
        ([{"a": 1}], "object"),
        ([[{"role": "user", "content": "hi"}]], "messages"),
        ([[1, 2]], "list"),
        ([1, "a"], "mixed"),
    ],
)
def test_a_column_is_of_the_kind_of_all_its_values(values: list[Any], kind: str) -> None:
    assert Column("x", tuple(values)).kind == kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "is empty"),
        ("blank.jsonl", "\n \n", "is empty"),
        ("names.csv", "text,label\n", "has no rows"),
        ("objects.jsonl", "{}\n", "has no rows"),
        ("rows.txt", "hello", "neither JSONL nor Parquet"),
    ],
)
def test_faults_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=message):
        read_table(tmp_path / name)


def test_faults_what_is_no_row_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\nnot json\n')
    with pytest.raises(RecipeError, match="line 2"):
        read_table(tmp_path / "rows.jsonl")


def test_faults_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(RecipeError, match="cannot read"):
        read_table(tmp_path / "none.jsonl")
