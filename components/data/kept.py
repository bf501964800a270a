"""The user's own columns. Kept ones travel through preparation as one JSON text, and stand in the tables as ``item``.

Without such a column a table has no ``item``, so that its bytes are those of its texts.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ratchet.components.data.columns import PAIR
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data

MAX_BYTES = 16 * 1024  # of a value as JSON; a column with a larger one is kept only by name
SHOWN = 10  # rows named in a message

Row = dict[str, Any]


class Items:
    """What the rows of a source have in columns of their own, noted as the rows go by."""

    def __init__(self, data: Data) -> None:
        self.keep = data.keep
        self.columns: Counter[str] = Counter()  # in order of appearance, with the number of rows that have it
        self.unfit: dict[str, str] = {}  # column -> why it is not kept unasked
        self.lacking: dict[str, list[str]] = defaultdict(list)  # named column -> places of the rows that lack it
        self.wrong: dict[str, list[str]] = defaultdict(list)  # named column -> places of values that are not JSON
        self.rows = 0

    def texts(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows with ``item`` as JSON of the columns that may be kept."""
        for row in rows:
            self.rows += 1
            item = row.get("item")
            self._note(row, item or {})
            yield row if item is None else {**row, "item": self._text(row, item)}

    def _note(self, row: Row, item: Mapping[str, Any]) -> None:
        self.columns.update(item.keys())
        if self.keep != "small" and row.get("shape") != PAIR:
            for name in self.keep:
                if name not in item:
                    self.lacking[name].append(_place(row))

    def _text(self, row: Row, item: Row) -> str:
        try:
            text = _canonical(item)
        except (TypeError, ValueError, RecursionError):
            text = None
        if text is not None and (self.keep != "small" or len(text) < MAX_BYTES // 8):
            return text
        faults = {name: fault for name, value in item.items() if (fault := _fault(value)) is not None}
        for name in faults:
            self.wrong[name].append(_place(row))
            self.unfit.setdefault(name, f"{_place(row)} is {faults[name]}")
        fit = {name: value for name, value in item.items() if name not in faults}
        for name, value in fit.items():
            if _is_large(name, value):
                large = f"has more than {MAX_BYTES} bytes; name it in data.keep to keep it"
                self.unfit.setdefault(name, f"{_place(row)} {large}")
        return _canonical({name: value for name, value in fit.items() if self.keep != "small" or name not in self.unfit})

    def kept(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str], list[str]]:
        """The frame with ``item`` as canonical JSON of the kept columns, or null without any; their names; notes on others.

        A column that a row lacks is null in it; so is each column of a preference that stands in a row of its own.

        Raises:
            DataError: if ``data.keep`` names a column that rows lack, or that is not JSON, with these rows.
        """
        if self.keep == "small":
            names = [name for name in self.columns if name not in self.unfit]
            notes = [f"the column {name!r} is not kept: {self.unfit[name]}" for name in self.columns if name in self.unfit]
        else:
            names, notes = list(self.keep), []
            for name in names:
                self._require(name)
        if not names:
            return frame.with_columns(item=pl.lit(None, pl.String)), names, notes
        if set(self.columns) == set(names) and all(count == self.rows for count in self.columns.values()):
            return frame, names, notes
        texts = (json.loads(text) if text else {} for text in frame["item"])
        whole = [_canonical({name: item.get(name) for name in names}) for item in texts]
        return frame.with_columns(pl.Series("item", whole, dtype=pl.String)), names, notes

    def _require(self, name: str) -> None:
        """Refuse a named column that rows lack, or whose values are not JSON."""
        if name not in self.columns:
            found = f"The columns are {', '.join(self.columns)}." if self.columns else "The source has no columns of your own."
            raise DataError(f"data.keep names the column {name!r}, which no row has. {found} Correct data.keep.")
        if lacking := self.lacking[name]:
            raise DataError(
                f"data.keep names the column {name!r}, which {len(lacking)} of {self.rows} rows lack: {_places(lacking)}. "
                "Give it to each row (null is a value), or remove it from data.keep."
            )
        if wrong := self.wrong[name]:
            raise DataError(
                f"data.keep names the column {name!r}, whose values in {len(wrong)} of {self.rows} rows are not JSON: "
                f"{_places(wrong)}. Write them as text or numbers."
            )


_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


def _fault(value: Any) -> str | None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__} that is not JSON"
    return None


def _is_large(name: str, value: Any) -> bool:
    return isinstance(value, str | list | dict) and len(_canonical({name: value}).encode()) > MAX_BYTES


def _place(row: Row) -> str:
    return f"{row['file']}, row {row['row']}"


def _places(places: Sequence[str]) -> str:
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return "; ".join(places[:SHOWN]) + more
