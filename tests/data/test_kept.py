"""The user's own columns stay with their rows, and leave no trace where there are none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from ratchet.components.data.kept import MAX_BYTES, Items
from ratchet.components.data.prepare import prepare
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, Slice, WordProblems
from ratchet.components.storage.files import read_json, read_json_lines, tree_digests

Source = Callable[..., Data]
Values = dict[str, Any]


def rows(*items: Values | None) -> list[Values]:
    return [{"file": "f", "row": n, "shape": "problem", "item": item} for n, item in enumerate(items, 1)]


def with_items(given: list[Values], data: Data) -> tuple[list[str | None], list[str], list[str]]:
    """The items, the names of the columns kept, and the notes on others."""
    items = Items(data)
    texts = [row["item"] for row in items.texts(given)]
    frame, names, notes = items.kept(pl.DataFrame({"item": pl.Series(texts, dtype=pl.String)}))
    return frame["item"].to_list(), names, notes


def problems(count: int, **columns: Callable[[int], Any]) -> list[Values]:
    own = [{name: value(n) for name, value in columns.items()} for n in range(count)]
    return [{"question": f"How much is {n} and 3?", "answer": f"#### {n + 3}", **values} for n, values in enumerate(own)]


def prepared(data: Data, target: Path) -> list[Values]:
    """The rows of all tables, with the table's name."""
    target.mkdir()
    prepare(data, target)
    return [{"table": path.stem, **row} for path in sorted(target.glob("*.jsonl")) for row in read_json_lines(path)]


def test_all_small_columns_stay_and_a_missing_value_is_null() -> None:
    found, names, notes = with_items(rows({"a": 1, "b": [True]}, {"a": None}, None), Data())
    assert names == ["a", "b"]
    assert [json.loads(text or "") for text in found] == [{"a": 1, "b": [True]}, {"a": None, "b": None}, {"a": None, "b": None}]
    assert notes == []


@pytest.mark.parametrize(("value", "why"), [("x" * MAX_BYTES, "more than 16384 bytes"), (b"x", "a bytes that is not JSON"),
                                            (float("nan"), "a float that is not JSON")])  # fmt: skip
def test_a_large_or_foreign_column_is_left_out_with_a_note(value: object, why: str) -> None:
    _, names, notes = with_items(rows({"a": 1, "b": 2}, {"a": 1, "b": value}), Data())
    assert names == ["a"]
    assert "the column 'b' is not kept: f, row 2" in notes[0]
    assert why in notes[0]


def test_a_named_column_stays_whatever_its_size() -> None:
    assert with_items(rows({"a": "x" * MAX_BYTES}), Data(keep=["a"]))[1] == ["a"]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"a": 1}, {"b": 2}, {}], "'a', which 2 of 3 rows lack: f, row 2; f, row 3"),
        ([{"b": 1}], "'a', which no row has. The columns are b"),
        ([None], "The source has no columns of your own"),
        ([{"a": 1}, {"a": b"x"}], "'a', whose values in 1 of 2 rows are not JSON: f, row 2"),
    ],
)
def test_faults_of_a_named_column_are_refused_with_the_rows(items: list[Values | None], said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_items(rows(*items), Data(keep=["a"]))


def test_the_tables_keep_the_columns_with_their_rows(source: Source, tmp_path: Path) -> None:
    data = source(*problems(300, vendor=lambda n: f"v{n % 7}", expected=lambda n: {"total": n}))
    found = prepared(data, tmp_path / "out")
    assert {row["table"] for row in found} >= {"train", "dev", "sealed_0", "pairs_train"}
    for row in found:
        number = int(row["prompt"].split()[3])
        assert row["item"] == {"vendor": f"v{number % 7}", "expected": {"total": number}}
    assert read_json(tmp_path / "out" / "summary.json")["columns"] == ["vendor", "expected"]


def test_without_own_columns_the_tables_are_as_before(source: Source, tmp_path: Path) -> None:
    plain = source(*problems(200))
    prepared(plain, tmp_path / "plain")
    prepared(source(*problems(200, vendor=lambda n: n)).model_copy(update={"keep": []}), tmp_path / "none")
    assert tree_digests(tmp_path / "plain") == tree_digests(tmp_path / "none")
    assert "item" not in (tmp_path / "plain" / "train.jsonl").read_text()


def test_the_rows_of_a_group_are_in_one_split_and_carry_it(source: Source, tmp_path: Path) -> None:
    data = source(*problems(800, document=lambda n: f"d{n % 200}")).model_copy(update={"group": "document"})
    found = prepared(data, tmp_path / "out")
    tables: dict[str, set[str]] = {}
    for row in found:
        assert row["group"] == f"d{int(row['prompt'].split()[3]) % 200}"
        tables.setdefault(row["group"], set()).add(row["table"].partition("_")[0])
    assert len(tables) == 200
    assert all(len(names - {"pairs"}) <= 1 for names in tables.values())


def test_a_group_that_no_row_has_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row of .* has the field 'document'.*data\.group"):
        prepared(source(*problems(20)).model_copy(update={"group": "document"}), tmp_path / "out")


def test_faults_of_groups_are_refused_with_the_recipe() -> None:
    with pytest.raises(ValidationError, match="generated problems have none"):
        Data(source=WordProblems(), group="a")


@pytest.mark.parametrize(("field", "inside"), [("item.vendor", True), ("item.address.city", False), ("item.vendor.x", False)])
def test_a_slice_is_by_a_kept_column(field: str, inside: bool) -> None:
    row = {"prompt": "p", "item": {"vendor": "ACME", "address": {"city": "Rome"}}}
    assert Slice(name="s", field=field, equals="ACME").includes(row) is inside
