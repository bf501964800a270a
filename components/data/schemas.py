"""What a row must be, checked by pandera on collected polars frames, every failing row listed with its file and number."""

import os
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, NamedTuple

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from ratchet.components.data.columns import DEMONSTRATION, PAIR, PROBLEM, TEXTS, Finding, Lacking
from ratchet.components.errors import DataError
from ratchet.components.graders.number import parse_number
from ratchet.components.recipe import Checks

MAX_LISTED = 1_000
FINAL_ANSWER = re.compile(r"(?<!#)####(?!#)")

BATCH = 10_000  # rows that are in memory as objects
PLAIN_ANSWER = r"^[^#]*#### ?-?[0-9]{1,18}$"  # surely ends in a number, and most answers are so

ORIGINS = {PROBLEM: "answer", DEMONSTRATION: "demonstration", PAIR: "chosen"}  # of what a row's other columns may be copies

RAW_TYPES = {
    "number": pl.Int64,  # index of the row among all rows read, from 0
    "part": pl.Int64,  # which source of a mix it came from, from 0
    "file": pl.String,
    "row": pl.Int64,
    "shape": pl.String,
    "group": pl.String,
    "item": pl.String,  # the user's own columns, as JSON
    "messages": pl.String,  # what the policy is asked, as JSON, if it is more than one user message
    "asked": pl.String,  # digests of the fields that the task reads, as JSON
    **dict.fromkeys(TEXTS, pl.String),
}

DEFAULTS = {"part": 0, "shape": PROBLEM}


class Checked(NamedTuple):
    """The rows that passed, and what the others failed."""

    frame: pl.DataFrame
    failures: list[Finding]


class Raw(NamedTuple):
    """Rows as a typed frame, in which a value that is not text is null; and these values, by number of the row and column."""

    frame: pl.DataFrame
    foreign: dict[tuple[int, str], Any]


def check_rows(raw: Raw, checks: Checks) -> Checked:
    """The rows that pass every check.

    Raises:
        DataError: if there are no rows, or more than ``checks.max_bad_rows`` of them fail; each failing one is listed with its
            file, number, column and reason.
    """
    frame, failures = raw.frame, _foreign_values(raw)
    known = {(failure.number, failure.column) for failure in failures}
    known |= {(number, "pair") for number, column in known if column in ("chosen", "rejected")}
    failures += [f for f in schema_failures(frame, raw_schema(checks)) if (f.number, f.column) not in known]
    failures = sorted(_own_faults(failures, raw))
    bad = {failure.number for failure in failures}
    if len(bad) > checks.max_bad_rows * frame.height:
        listed = refusal(failures, len(bad), frame.height)
        raise DataError(f"{listed} Or drop up to a share of them with data.checks.max_bad_rows.")
    kept = frame.filter(~pl.col("number").is_in(sorted(bad))) if bad else frame
    if kept.is_empty():
        raise DataError(refusal(failures, len(bad), frame.height))
    return Checked(kept, failures)


def _foreign_values(raw: Raw) -> list[Finding]:
    found = []
    for (number, column), value in raw.foreign.items():
        row, foreign = raw.frame.row(number, named=True), f"is a {type(value).__name__}, not text or chat messages"
        reason = value.reason if isinstance(value, Lacking) else foreign
        found.append(Finding(number, row["file"], row["row"], column, reason))
    return found


def _own_faults(failures: Sequence[Finding], raw: Raw) -> list[Finding]:
    """The failures without those of a value that was copied from another column, in which it fails too."""
    failed = {(failure.number, failure.column) for failure in failures}

    def copied(failure: Finding) -> bool:
        row = raw.frame.row(failure.number, named=True)
        origin = ORIGINS.get(row["shape"], "answer")
        if failure.column not in ORIGINS.values() or failure.column == origin:
            return False
        one, other = (raw.foreign.get((failure.number, name), row[name]) for name in (failure.column, origin))
        return one == other and (failure.number, origin) in failed

    return [failure for failure in failures if not copied(failure)]


def raw_frame(rows: Iterable[dict[str, Any]]) -> Raw:
    """Rows, numbered from 0, as a frame.

    Raises:
        DataError: if there are none.
    """
    frames: list[pl.DataFrame] = []
    foreign: dict[tuple[int, str], Any] = {}
    numbered = enumerate(rows)
    while batch := list(islice(numbered, BATCH)):
        wrong = {(n, name): row[name] for n, row in batch for name in TEXTS if not isinstance(row.get(name), str | None)}
        foreign |= wrong
        values = {
            name: [None if (n, name) in wrong else row.get(name, DEFAULTS.get(name)) for n, row in batch] for name in RAW_TYPES
        }
        values["number"] = [n for n, _ in batch]
        frames.append(_shared(pl.DataFrame(values, schema=RAW_TYPES)))
    if not frames:
        raise DataError("the source has zero rows. Check data.source in the recipe.")
    return Raw(pl.concat(frames), foreign)


def _shared(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame, in which columns that are the answer's copies take no memory of their own."""
    copies = [name for name in ("demonstration", "chosen") if frame[name].equals(frame["answer"])]
    return frame.with_columns(pl.col("answer").alias(name) for name in copies)


def raw_schema(checks: Checks) -> pa.DataFrameSchema:
    """The schema of raw rows. What an answer must be is the recipe's decision."""
    optional = checks.answers == "optional"
    number = pa.Check(_ends_in_number, name="ends_in_number", error="does not end in '#### N'")
    return pa.DataFrameSchema(
        {
            "number": pa.Column(pl.Int64),
            "part": pa.Column(pl.Int64, pa.Check.ge(0)),
            "file": pa.Column(pl.String),
            "row": pa.Column(pl.Int64, pa.Check.ge(1)),
            "shape": pa.Column(pl.String, pa.Check.isin([PROBLEM, DEMONSTRATION, PAIR])),
            "group": pa.Column(pl.String, nullable=True),
            "item": pa.Column(pl.String, nullable=True),
            "messages": pa.Column(pl.String, nullable=True),
            "asked": pa.Column(pl.String, nullable=True),
            "prompt": pa.Column(pl.String, _not_blank("prompt")),
            "answer": pa.Column(pl.String, number if checks.answers == "number" else _not_blank("answer"), nullable=optional),
            "demonstration": pa.Column(pl.String, _not_blank("demonstration"), nullable=optional),
            "chosen": pa.Column(pl.String, _not_blank("chosen"), nullable=True),
            "rejected": pa.Column(pl.String, [_not_blank("rejected"), _OTHER_THAN_CHOSEN], nullable=True),
        },
        strict=True,
        checks=_BOTH_OR_NEITHER,
    )


def _not_blank(name: str) -> pa.Check:
    return pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key).str.strip_chars().str.len_chars() > 0),
        name=f"{name}_not_blank",
        error="blank",
    )


def _ends_in_number(data: pa.PolarsData) -> pl.LazyFrame:
    text: pl.Expr = pl.col(str(data.key))
    plain = text.str.contains(PLAIN_ANSWER)
    others = pl.when(plain).then(None).otherwise(text)
    judged = others.map_elements(lambda answer: number_after_hashes(answer) is not None, return_dtype=pl.Boolean)
    frame: pl.LazyFrame = data.lazyframe
    return frame.select(pl.when(plain).then(True).otherwise(judged))


def number_after_hashes(answer: str) -> Fraction | None:
    """The one number that stands behind an answer's last ``####``, up to its end; None without it."""
    parts = FINAL_ANSWER.split(answer)
    return parse_number(parts[-1]) if len(parts) > 1 else None


_OTHER_THAN_CHOSEN = pa.Check(
    lambda data: data.lazyframe.select(pl.col("rejected").str.strip_chars() != pl.col("chosen").str.strip_chars()),
    error="is the same text as chosen",
)
_BOTH_OR_NEITHER = pa.Check(
    lambda data: data.lazyframe.select(pl.col("chosen").is_null() == pl.col("rejected").is_null()),
    error="chosen and rejected must be given together or not at all",
)


def schema_failures(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> list[Finding]:
    """Every check of the schema that a row fails.

    Raises:
        DataError: if validation is switched off in the environment, or a check concerns no single row.
    """
    if os.environ.get("PANDERA_VALIDATION_ENABLED", "true").lower() == "false":
        raise DataError("PANDERA_VALIDATION_ENABLED is off, which disables every data check. Unset it.")
    try:
        with pa.config.config_context(validation_enabled=True, validation_depth=pa.config.ValidationDepth.SCHEMA_AND_DATA):
            schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return [_failure(frame, case) for case in errors.failure_cases.iter_rows(named=True)]
    return []


def _failure(frame: pl.DataFrame, case: dict[str, Any]) -> Finding:
    column, reason = str(case["column"]), "null value" if case["check"] == "not_nullable" else str(case["check"])
    if case["index"] is None:
        raise DataError(f"the data as a whole: {column}: {reason}. Check data.source in the recipe.")
    row = frame.row(int(case["index"]), named=True)
    return Finding(row["number"], row["file"], row["row"], column if column in frame.columns else "pair", reason)


def refusal(failures: Sequence[object], bad: int, of: int) -> str:
    """The message about rows that failed, the first thousand listed."""
    lines = [f"  {failure}" for failure in failures]
    more = [f"  ... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    head = f"{len(lines)} checks failed, in {bad} of {of} rows:"
    return "\n".join([head, *lines[:MAX_LISTED], *more, "Correct or remove these rows."])
