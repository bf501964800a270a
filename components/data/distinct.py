"""Rows that ask the same and are judged differently: the columns that the gold reads make them different rows.

Their table is that of their prompt, so that none is trained on while another is evaluated on.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

import polars as pl

from ratchet.components.data.columns import PAIR
from ratchet.components.data.journal import Journal

SHOWN = 5  # rows named in a warning


def with_distinct_ids(frame: pl.DataFrame, columns: Sequence[str], journal: Journal) -> pl.DataFrame:
    """The frame, in which a prompt that stands in rows with several values of the columns has an id for each; with a warning.

    A preference in a row of its own has no columns, and belongs to the first of its prompt's rows.
    """
    repeated = frame.filter(pl.col("id").is_duplicated()) if columns else frame.clear()
    values = [_values(item, columns) for item in repeated["item"]]
    rows = list(zip(repeated["id"].to_list(), repeated["shape"].to_list(), values, strict=True))
    found: dict[str, set[str]] = defaultdict(set)
    for identity, shape, value in rows:
        if shape != PAIR:
            found[identity].add(value)
    first = {identity: min(several) for identity, several in found.items() if len(several) > 1}
    if not first:
        return frame
    journal.warnings.append(_warning(repeated.filter(pl.col("id").is_in(list(first))), len(first), columns))
    ids = [
        _id(identity, first[identity] if shape == PAIR else value) if identity in first else identity
        for identity, shape, value in rows
    ]
    own = repeated.select("number", pl.Series("own", ids, dtype=pl.String))
    joined = frame.join(own, on="number", how="left", maintain_order="left")
    return joined.with_columns(id=pl.coalesce("own", "id")).drop("own")


def _values(item: str | None, columns: Sequence[str]) -> str:
    kept = json.loads(item) if item else {}
    return json.dumps([kept.get(name) for name in columns], ensure_ascii=False, sort_keys=True)


def _id(identity: str, value: str) -> str:
    return hashlib.sha256(f"{identity}:{value}".encode()).hexdigest()[:16]


def _warning(rows: pl.DataFrame, prompts: int, columns: Sequence[str]) -> str:
    places = [f"{file}, row {row}" for file, row in rows.sort("number").select("file", "row").head(SHOWN).iter_rows()]
    more = f" and {rows.height - SHOWN:,} more" if rows.height > SHOWN else ""
    return (
        f"prompts in several rows that differ in {', '.join(columns)}: {prompts:,} ({'; '.join(places)}{more}). The policy is "
        "asked the same in each and cannot tell them apart. Ask with the column in task, or remove the rows."
    )
