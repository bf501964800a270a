"""The user's own columns. Kept ones travel through preparation as one JSON text, and stand in the tables as ``item``.

Without such a column a table has no ``item``, so that its bytes are those of its texts.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.data.columns import PAIR
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data

MAX_BYTES = 16 * 1024  # of a value as JSON; a column with a larger one is kept only by name
SHOWN = 10  # rows named in a message

Row = dict[str, Any]


def with_items(rows: Sequence[Row], data: Data) -> tuple[list[Row], list[str], list[str]]:
    """The rows with ``item`` as canonical JSON of the kept columns (None if none is kept), their names, and notes on others.

    A column that a row lacks is null in it; so is each column of a preference that stands in a row of its own.

    Raises:
        DataError: if ``data.keep`` names a column that rows lack, or that is not JSON, with these rows.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.get("item") or {}))
    if data.keep == "small":
        unfit = {name: reason for name in columns if (reason := _unfit(name, rows)) is not None}
        notes = [f"the column {name!r} is not kept: {reason}" for name, reason in unfit.items()]
        names = [name for name in columns if name not in unfit]
    else:
        names, notes = list(data.keep), []
        for name in names:
            _require(name, rows, columns)
    texts = [_canonical({name: (row.get("item") or {}).get(name) for name in names}) if names else None for row in rows]
    return [{**row, "item": text} for row, text in zip(rows, texts, strict=True)], names, notes


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _unfit(name: str, rows: Sequence[Row]) -> str | None:
    """Why a column is not kept unasked, or None."""
    for row in rows:
        value = (row.get("item") or {}).get(name)
        if value is None or isinstance(value, int) or (isinstance(value, str) and len(value) < MAX_BYTES // 8):
            continue
        if (fault := _fault(value)) is not None:
            return f"{row['file']}, row {row['row']} is {fault}"
        if isinstance(value, (str, list, dict)) and len(_canonical({name: value}).encode()) > MAX_BYTES:
            return f"{row['file']}, row {row['row']} has more than {MAX_BYTES} bytes; name it in data.keep to keep it"
    return None


def _fault(value: Any) -> str | None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__} that is not JSON"
    return None


def _require(name: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Refuse a named column that rows lack, or whose values are not JSON."""
    lacking = [row for row in rows if row.get("shape") != PAIR and name not in (row.get("item") or {})]
    if name not in columns:
        found = f"The columns are {', '.join(columns)}." if columns else "The source has no columns of your own."
        raise DataError(f"data.keep names the column {name!r}, which no row has. {found} Correct data.keep.")
    if lacking:
        raise DataError(
            f"data.keep names the column {name!r}, which {len(lacking)} of {len(rows)} rows lack: {_places(lacking)}. "
            "Give it to each row (null is a value), or remove it from data.keep."
        )
    wrong = [row for row in rows if _fault((row.get("item") or {}).get(name)) is not None]
    if wrong:
        raise DataError(
            f"data.keep names the column {name!r}, whose values in {len(wrong)} of {len(rows)} rows are not JSON: "
            f"{_places(wrong)}. Write them as text or numbers."
        )


def _places(rows: Sequence[Row]) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return "; ".join(f"{row['file']}, row {row['row']}" for row in rows[:SHOWN]) + more
