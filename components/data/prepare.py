"""Clean, check, dedupe and split raw rows into the tables of a dataset version.

The tables are JSONL in canonical order, so that equal content gives equal bytes and so an equal version:

    train, dev, guard            {id, prompt, answer, demonstration}
    sealed_0 ... sealed_{F-1}    the same; reserve folds that only the gate reads
    pairs_train, pairs_heldout   {id, prompt, answer, chosen, rejected}
    summary.json                 counts through each step
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from components.data.schemas import raw_frame, validate
from components.data.sources import read_rows
from components.errors import DataError
from components.files import write_json, write_json_lines
from components.recipe import Data, Split

PROBLEM_COLUMNS = ("id", "prompt", "answer", "demonstration")
PAIR_COLUMNS = ("id", "prompt", "answer", "chosen", "rejected")


def prepare(data: Data, target: Path) -> dict[str, Any]:
    """Build a dataset version in ``target`` (an existing, empty directory) and return its summary.

    Raises:
        DataError: if rows fail their checks or a split that is needed is empty.
    """
    frame = validate(raw_frame(list(read_rows(data))))
    raw_rows = frame.height
    frame, dropped = clean(frame, data)
    tables = split_tables(frame.iter_rows(named=True), data.split)
    check_tables(tables)
    for name, rows in tables.items():
        write_json_lines(target / f"{name}.jsonl", rows)
    summary = {"raw_rows": raw_rows, "dropped": dropped, "rows": {name: len(rows) for name, rows in tables.items()}}
    write_json(target / "summary.json", summary)
    return summary


def normalise(prompt: str) -> str:
    """The form in which two prompts count as the same: NFKC, case and white space folded."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", prompt).casefold()).strip()


def prompt_id(prompt: str) -> str:
    """A stable id of a prompt: sha256 of its normalised form, 16 hex digits."""
    return hashlib.sha256(normalise(prompt).encode()).hexdigest()[:16]


def clean(frame: pl.DataFrame, data: Data) -> tuple[pl.DataFrame, dict[str, int]]:
    """Drop over-long prompts and duplicates; of rows with the same prompt the first in canonical order stays.

    Returns:
        The frame with columns id, prompt, answer, demonstration, chosen, rejected, and counts of what was dropped.
    """
    short = frame.filter(pl.col("question").str.len_chars() <= data.max_prompt_chars)
    named = short.with_columns(
        pl.col("question").str.strip_chars().alias("prompt"),
        pl.col("question").map_elements(prompt_id, return_dtype=pl.String).alias("id"),
    )
    columns = ["id", "prompt", "answer", "demonstration", "chosen", "rejected"]
    # Sorting by content first makes the survivor independent of the order and sharding of the source.
    unique = named.select(columns).sort(columns, nulls_last=True).unique("id", keep="first", maintain_order=True)
    too_long, duplicates = frame.height - short.height, short.height - unique.height
    return unique, {"too_long": too_long, "duplicates": duplicates}


def split_of(identity: str, split: Split) -> str:
    """The table of a prompt id; it never changes when other rows are added.

    The id's hash is a number in [0, 1); dev, sealed, guard and pairs take consecutive intervals, train the rest.
    """
    place = int.from_bytes(hashlib.sha256(f"split:{identity}".encode()).digest()[:8], "big") / 2**64
    shares = {"dev": split.dev}
    shares.update({f"sealed_{fold}": split.sealed / split.sealed_folds for fold in range(split.sealed_folds)})
    shares["guard"] = split.guard
    shares["pairs_heldout"] = split.pairs * split.pairs_heldout
    shares["pairs_train"] = split.pairs * (1 - split.pairs_heldout)
    for name, share in shares.items():
        if place < share:
            return name
        place -= share
    return "train"


def split_tables(rows: Iterable[Mapping[str, Any]], split: Split) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, in order of id. A row without a pair that falls among the pairs goes to train."""
    names = ["train", "dev", "guard", "pairs_train", "pairs_heldout"]
    names += [f"sealed_{fold}" for fold in range(split.sealed_folds)]
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for row in sorted(rows, key=lambda r: r["id"]):
        name = split_of(row["id"], split)
        if name.startswith("pairs") and row["chosen"] is None:
            name = "train"
        columns = PAIR_COLUMNS if name.startswith("pairs") else PROBLEM_COLUMNS
        tables[name].append({column: row[column] for column in columns})
    return tables


def check_tables(tables: Mapping[str, list[dict[str, Any]]]) -> None:
    """Refuse a version that no run could use.

    Raises:
        DataError: naming the empty tables, or prompts that stand in two of them.
    """
    empty = [name for name in tables if not tables[name] and not name.startswith(("pairs", "guard"))]
    if empty:
        raise DataError(f"no rows fall into {', '.join(empty)}. Add data, or raise the shares in data.split.")
    places = Counter(row["id"] for rows in tables.values() for row in rows)
    twice = [identity for identity, count in places.items() if count > 1]
    if twice:
        raise DataError(f"prompts in two splits: {', '.join(twice[:5])}. Remove the duplicates.")
