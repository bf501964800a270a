"""The first rows of a data file, and what stands in its columns."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ratchet.components.data.columns import conversation
from ratchet.components.data.readers import DELIMITERS, Record, parse_json_lines, read_csv, read_parquet
from ratchet.components.errors import DataError, RecipeError
from ratchet.components.recipe.sources import SUFFIXES

ROWS = 2_000  # read at most, however large the file is
BEGINNING = 64 * 1024  # bytes in which the form of a file shows
Kind = Literal["empty", "messages", "object", "list", "flag", "number", "text", "mixed"]


@dataclass(frozen=True)
class Column:
    """One field of the rows read; ``values`` has None where a row lacks it."""

    name: str
    values: tuple[Any, ...]

    @cached_property
    def given(self) -> list[Any]:
        """The values that are there: neither null nor blank."""
        return [value for value in self.values if value is not None and not (isinstance(value, str) and not value.strip())]

    @cached_property
    def kind(self) -> Kind:
        """What all of the given values are."""
        kinds = {_kind(value) for value in self.given}
        if not kinds:
            return "empty"
        return kinds.pop() if len(kinds) == 1 else "mixed"

    @cached_property
    def texts(self) -> list[str]:
        """The given values as a reference has them: text as it is, anything else as JSON."""
        return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in self.given]

    @property
    def length(self) -> float:
        """Characters of a value, on average."""
        return sum(map(len, self.texts)) / len(self.texts) if self.texts else 0.0


@dataclass(frozen=True)
class Table:
    """The rows read of a file.

    Attributes:
        source: kind and, for CSV, delimiter, as ``data.source`` has them.
        whole: whether these are all rows.
        size: rows of the whole file; an estimate by its bytes where not all were read.
    """

    path: Path
    source: dict[str, str]
    rows: list[dict[str, Any]]
    whole: bool
    size: int

    @cached_property
    def columns(self) -> dict[str, Column]:
        """By name, in order of appearance."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: Column(name, tuple(row.get(name) for row in self.rows)) for name in names}


def read_table(path: Path, most: int = ROWS) -> Table:
    """The first rows of a JSONL, CSV or Parquet file.

    Raises:
        RecipeError: if it is not a file of rows, naming the line that is not one.
    """
    source = _source(path)
    try:
        records = [record for _, record in islice(_records(path, source), most + 1)]
    except DataError as error:
        raise RecipeError(str(error)) from error
    if not any(records):
        raise RecipeError(f"{path} has no rows. Give a file with one example per row, of what is asked and what is right.")
    whole, rows = len(records) <= most, records[:most]
    return Table(path, source, rows, whole, len(rows) if whole else _size(path, source["kind"], rows))


def _source(path: Path) -> dict[str, str]:
    """Kind and delimiter, by the suffix and the first bytes."""
    if path.is_dir():
        raise RecipeError(f"{path} is a folder, and the columns are guessed from one file. Give one of its files.")
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}. Correct --data.") from error
    if not beginning.strip():
        raise RecipeError(f"{path} is empty. Give a file with one example per row.")
    kind = SUFFIXES.get(path.suffix.lower()) or _sniffed(path, beginning)
    return {"kind": kind, **({"delimiter": _delimiter(beginning)} if kind == "csv" else {})}


def _sniffed(path: Path, beginning: bytes) -> str:
    if beginning.startswith(b"PAR1"):
        return "parquet"
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return "jsonl"
    known = ", ".join(SUFFIXES)
    raise RecipeError(f"{path} is neither JSONL nor Parquet, and its name ends in none of {known}. Convert it, or rename it.")


def _delimiter(beginning: bytes) -> str:
    """The mark that the line of names has most often; a comma where it has none."""
    names = beginning.decode("utf-8-sig", errors="replace").splitlines()[0]
    marks: list[str] = [",", *DELIMITERS.replace(",", "")]
    return max(marks, key=lambda mark: names.count(mark))


def _records(path: Path, source: dict[str, str]) -> Iterator[Record]:
    if source["kind"] == "parquet":
        return read_parquet(path)
    if source["kind"] == "csv":
        return read_csv(path, source["delimiter"])
    return parse_json_lines(path)


def _size(path: Path, kind: str, rows: list[dict[str, Any]]) -> int:
    """Rows of the whole file: of Parquet as its metadata say, else by the bytes that the first ones take."""
    if kind == "parquet":
        from pyarrow.parquet import read_metadata

        return int(read_metadata(path).num_rows)
    read = sum(len(_line(row, kind).encode()) + 1 for row in rows)
    return max(len(rows), round(path.stat().st_size * len(rows) / read))


def _line(row: dict[str, Any], kind: str) -> str:
    return ",".join(str(value or "") for value in row.values()) if kind == "csv" else json.dumps(row, ensure_ascii=False)


def _kind(value: Any) -> Kind:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "messages" if conversation(value) is not None else "list"
