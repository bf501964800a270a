"""What a row must be, checked by pandera on collected polars frames, every failing row listed with its number."""

import os
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from components.errors import DataError

MAX_LISTED = 1_000
FINAL_ANSWER = r"####\s*-?\d[\d,]*(\.\d+)?\s*$"

RAW_TYPES = {
    "file": pl.String,
    "row": pl.Int64,
    "question": pl.String,
    "answer": pl.String,
    "demonstration": pl.String,
    "chosen": pl.String,
    "rejected": pl.String,
}


def _not_blank(name: str) -> pa.Check:
    return pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key).str.strip_chars().str.len_chars() > 0),
        name=f"{name}_not_blank",
        error="blank",
    )


RAW_SCHEMA = pa.DataFrameSchema(
    {
        "file": pa.Column(pl.String),
        "row": pa.Column(pl.Int64, pa.Check.ge(1)),
        "question": pa.Column(pl.String, _not_blank("question")),
        "answer": pa.Column(pl.String, pa.Check.str_contains(FINAL_ANSWER, error="does not end in '#### N'")),
        "demonstration": pa.Column(pl.String, _not_blank("demonstration")),
        "chosen": pa.Column(pl.String, _not_blank("chosen"), nullable=True),
        "rejected": pa.Column(pl.String, _not_blank("rejected"), nullable=True),
    },
    strict=True,
    checks=pa.Check(
        lambda data: data.lazyframe.select(pl.col("chosen").is_null() == pl.col("rejected").is_null()),
        error="chosen and rejected must both be given, or neither",
    ),
)


def raw_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a typed frame.

    Raises:
        DataError: if there are none, or a value is not text.
    """
    if not rows:
        raise DataError("the source has zero rows. Check data.source in the recipe.")
    for row in rows:
        for name, value in row.items():
            if name != "row" and value is not None and not isinstance(value, str):
                place = f"{row['file']}, row {row['row']}"
                raise DataError(f"{place}: {name} is a {type(value).__name__}, not text. Correct or remove the row.")
    return pl.DataFrame(rows, schema=RAW_TYPES)


def validate(frame: pl.DataFrame, schema: pa.DataFrameSchema = RAW_SCHEMA) -> pl.DataFrame:
    """The frame, if every row passes the schema.

    Raises:
        DataError: listing each failing row's file, number, column and reason.
    """
    if os.environ.get("PANDERA_VALIDATION_ENABLED", "true").lower() == "false":
        raise DataError("PANDERA_VALIDATION_ENABLED is off, which disables every data check. Unset it.")
    try:
        with pa.config.config_context(validation_enabled=True, validation_depth=pa.config.ValidationDepth.SCHEMA_AND_DATA):
            checked: pl.DataFrame = schema.validate(frame, lazy=True)
            return checked
    except SchemaErrors as errors:
        raise DataError(_listing(frame, errors.failure_cases)) from None


def _listing(frame: pl.DataFrame, failures: pl.DataFrame) -> str:
    lines = []
    for failure in failures.sort("index", nulls_last=False).iter_rows(named=True):
        column, reason, index = failure["column"], failure["check"], failure["index"]
        place = "the file"
        if index is not None and {"file", "row"} <= set(frame.columns):
            source = frame.row(int(index), named=True)
            place = f"{source['file']}, row {source['row']}"
        lines.append(f"  {place}: {column}: {'null value' if reason == 'not_nullable' else reason}")
    lines = list(dict.fromkeys(lines))
    more = [f"  ... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return "\n".join([f"{len(lines)} checks failed:", *lines[:MAX_LISTED], *more, "Correct or remove these rows."])
