"""Which table a prompt stands in: decided by a hash, so that it never changes when data are added."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from ratchet.components.data.columns import PAIR, PROBLEM
from ratchet.components.data.schemas import refusal
from ratchet.components.errors import DataError
from ratchet.components.recipe import Split

TRAINED_ON = ("train", "pairs_train")


class Tables(NamedTuple):
    """Rows by table, and the preferences that no table takes."""

    tables: dict[str, pl.DataFrame]
    unused_pairs: int


def split_of(key: str, split: Split) -> str:
    """The table of a prompt's place, or of a group's key; it never changes when other rows are added.

    The key's hash is a number in [0, 1); dev, sealed, guard and pairs take consecutive intervals, train the rest.
    """
    place = int.from_bytes(hashlib.sha256(f"split:{key}".encode()).digest()[:8], "big") / 2**64
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


def split_key(place: str, group: str | None) -> str:
    """What is hashed: the group where a row has one, so that its rows stay together, else the prompt's place."""
    return place if group is None else f"group:{group}"


def check_groups(frame: pl.DataFrame) -> None:
    """Refuse a prompt in two groups: it would tie their splits together, and adding a row could then move others.

    Prompts that differ only in case, white space or look-alike characters count as one: they belong into one table.

    Raises:
        DataError: listing the rows.
    """
    if frame["group"].null_count() == frame.height:
        return
    counts = frame.group_by("place").agg(pl.col("group").n_unique().alias("groups")).filter(pl.col("groups") > 1)
    if counts.is_empty():
        return
    rows = frame.filter(pl.col("place").is_in(counts["place"].to_list())).sort("number")
    said = "group: its prompt, or one that looks the same, is in another group too; give both one group"
    lines = [f"{file}, row {row}: {said}" for file, row in rows.select("file", "row").rows()]
    raise DataError(refusal(lines, rows.height, frame.height))


def with_tables(frame: pl.DataFrame, split: Split) -> pl.DataFrame:
    """Add ``table``, to which a row's place or its group assigns it."""
    key = pl.when(pl.col("group").is_null()).then(pl.col("place")).otherwise("group:" + pl.col("group"))
    table = key.map_elements(lambda text: split_of(text, split), return_dtype=pl.String)
    return frame.with_columns(table.cast(pl.Enum(table_names(split))).alias("table"))


def table_names(split: Split) -> list[str]:
    """Every table of a version."""
    return ["train", "dev", "guard", "pairs_train", "pairs_heldout", *(f"sealed_{fold}" for fold in range(split.sealed_folds))]


def split_tables(frame: pl.DataFrame, split: Split) -> Tables:
    """Problems and preferences by table, in order of id.

    A prompt whose hash falls among the pairs brings its preferences there, or goes to train if it has none. Preferences that
    were given as rows of their own stand in pairs_train also when their prompt falls into train; those of evaluated prompts
    are unused.

    Args:
        frame: rows with ``table``, of each prompt one problem at most, its preferences in canonical order.
    """
    rows = _with_problems(frame)
    is_pair, among_pairs = pl.col("shape") == PAIR, pl.col("table").cast(pl.String).str.starts_with("pairs")
    rows = rows.with_columns(paired=pl.col("chosen").is_not_null().any().over("id") & among_pairs)
    train = pl.lit("train", rows.schema["table"])
    alone = pl.when(~pl.col("paired") & ~is_pair).then(train)  # of a prompt without a preference; else null
    place = (
        pl.when(among_pairs & pl.col("chosen").is_not_null())
        .then(pl.col("table"))
        .when(among_pairs)
        .then(alone)
        .when(~is_pair)
        .then(pl.col("table"))
        .when(pl.col("table") == train)
        .then(pl.lit("pairs_train", rows.schema["table"]))
    )
    unused = rows.filter(is_pair & ~among_pairs & (pl.col("table") != train)).height
    placed = rows.with_columns(table=place).drop("paired")
    tables = {name: placed.filter(pl.col("table") == name).sort("id", maintain_order=True) for name in table_names(split)}
    return Tables(tables, unused)


def _with_problems(frame: pl.DataFrame) -> pl.DataFrame:
    """The problems, and then the preferences; preferences without a problem give one, without a pair of its own."""
    is_pair = frame["shape"] == PAIR
    if not is_pair.any():
        return frame
    problems, pairs = frame.filter(~is_pair), frame.filter(is_pair)
    lone = pairs.join(problems.select("id"), on="id", how="anti").unique("id", keep="first", maintain_order=True)
    given = lone.with_columns(pl.lit(None, pl.String).alias(name) for name in ("chosen", "rejected"))
    return pl.concat([problems, given.with_columns(shape=pl.lit(PROBLEM)), pairs])


def check_tables(tables: Mapping[str, pl.DataFrame], taken: str = "") -> None:
    """Refuse a version that no run could use.

    Args:
        taken: what to say of the steps that took rows, and of how to keep them.

    Raises:
        DataError: naming the empty tables, or prompts that are evaluated on and stand in another table too.
    """
    empty = [name for name, rows in tables.items() if rows.is_empty() and not name.startswith(("pairs", "guard"))]
    if empty:
        raise DataError(f"no rows fall into {', '.join(empty)}. {taken or 'Add data, or raise the shares in data.split.'}")
    used = [rows.select("id", use=pl.lit(TRAINED_ON[0] if name in TRAINED_ON else name)) for name, rows in tables.items()]
    several = pl.concat(used).unique()["id"]
    twice = several.filter(several.is_duplicated()).unique().sort().to_list()
    if twice:
        raise DataError(f"prompts in two splits: {', '.join(twice[:5])}. Remove the duplicates.")
