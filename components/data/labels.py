"""Whether labels say anything: pairs that contradict one another, and one label on nearly every row."""

from collections import Counter

import polars as pl

from components.data.duplicates import normalise
from components.data.schemas import refusal
from components.data.shapes import PAIR
from components.errors import DataError
from components.recipe import Checks

FEWEST = 20  # rows below which one label on all of them may be chance


def contradictory(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose pair another row turns round: the same prompt, with chosen and rejected exchanged."""
    paired = frame.filter(pl.col("chosen").is_not_null())
    keys = [
        (identity, normalise(chosen), normalise(rejected))
        for identity, chosen, rejected in paired.select("id", "chosen", "rejected").iter_rows()
    ]
    known = set(keys)
    turned = [(identity, rejected, chosen) in known for identity, chosen, rejected in keys]
    return paired.filter(pl.Series(turned, dtype=pl.Boolean))


def consistent_pairs(frame: pl.DataFrame, checks: Checks) -> pl.DataFrame:
    """The frame without contradictory pairs, both sides of which go; a problem that brought one along stays without it.

    Raises:
        DataError: if more than ``checks.max_contradictory_pairs`` of the pairs contradict others, each listed.
    """
    bad = contradictory(frame)
    paired = frame.filter(pl.col("chosen").is_not_null()).height
    if bad.height > checks.max_contradictory_pairs * paired:
        rows = bad.sort("number").select("file", "row").iter_rows()
        lines = [f"{file}, row {row}: chosen: another row rejects it for the same prompt" for file, row in rows]
        raise DataError(refusal(lines, bad.height, paired))
    hit = pl.col("number").is_in(bad["number"].to_list())
    cut = [pl.when(hit).then(None).otherwise(pl.col(name)).alias(name) for name in ("chosen", "rejected")]
    return frame.filter(~(hit & (pl.col("shape") == PAIR))).with_columns(cut)


def check_variety(frame: pl.DataFrame, checks: Checks) -> None:
    """Refuse labels that are nearly all the same.

    Raises:
        DataError: if one final answer, chosen or rejected text is on more than ``checks.max_same_label`` of the rows.
    """
    for column in ("answer", "chosen", "rejected"):
        labels = [final(text) for text in frame[column].drop_nulls()]
        if len(labels) < FEWEST:
            continue
        label, count = Counter(labels).most_common(1)[0]
        if count > checks.max_same_label * len(labels):
            raise DataError(
                f"{column} is {label[:80]!r} in {count} of {len(labels)} rows, which teaches nothing. "
                "Correct the labels, or raise data.checks.max_same_label."
            )


def final(text: str) -> str:
    """What a label says at last: the number after ``####``, else the whole text."""
    _, found, number = text.rpartition("####")
    return number.strip() if found else normalise(text)
