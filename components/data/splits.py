"""Which table a prompt stands in: decided by a hash, so that it never changes when data are added."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from ratchet.components.data.columns import PAIR
from ratchet.components.data.schemas import refusal
from ratchet.components.errors import DataError
from ratchet.components.recipe import Split

Row = dict[str, Any]
TRAINED_ON = ("train", "pairs_train")


class Tables(NamedTuple):
    """Rows by table, and the preferences that no table takes."""

    tables: dict[str, list[Row]]
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

    Raises:
        DataError: listing the rows.
    """
    counts = frame.group_by("id").agg(pl.col("group").n_unique().alias("groups")).filter(pl.col("groups") > 1)
    if counts.is_empty():
        return
    rows = frame.filter(pl.col("id").is_in(counts["id"].to_list())).sort("number")
    lines = [f"{file}, row {row}: group: its prompt is in another group too" for file, row in rows.select("file", "row").rows()]
    raise DataError(refusal(lines, rows.height, frame.height))


def split_tables(frame: pl.DataFrame, split: Split) -> Tables:
    """Problems and preferences by table, in order of id.

    A prompt whose hash falls among the pairs brings its preferences there, or goes to train if it has none. Preferences that
    were given as rows of their own stand in pairs_train also when their prompt falls into train; those of evaluated prompts
    are unused.
    """
    names = ["train", "dev", "guard", "pairs_train", "pairs_heldout", *(f"sealed_{n}" for n in range(split.sealed_folds))]
    tables: dict[str, list[Row]] = {name: [] for name in names}
    unused = 0
    for _, (problem, pairs) in sorted(_by_prompt(frame).items()):
        name = split_of(split_key(problem["place"], problem["group"]), split)
        if name.startswith("pairs"):
            every = [row for row in [problem, *pairs] if row["chosen"] is not None]
            tables[name if every else "train"] += every or [problem]
            continue
        tables[name].append(problem)
        if name == "train":
            tables["pairs_train"] += pairs
        else:
            unused += len(pairs)
    return Tables(tables, unused)


def _by_prompt(frame: pl.DataFrame) -> dict[str, tuple[Row, list[Row]]]:
    """id -> its problem and its preferences; preferences without a problem give one, without a pair of its own."""
    problems: dict[str, Row] = {}
    pairs: dict[str, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        if row["shape"] == PAIR:
            pairs[row["id"]].append(row)
        else:
            problems[row["id"]] = row
    for identity, rows in pairs.items():
        problems.setdefault(identity, {**rows[0], "chosen": None, "rejected": None})
    return {identity: (row, pairs[identity]) for identity, row in problems.items()}


def check_tables(tables: Mapping[str, list[Row]], taken: str = "") -> None:
    """Refuse a version that no run could use.

    Args:
        taken: what to say of the steps that took rows, and of how to keep them.

    Raises:
        DataError: naming the empty tables, or prompts that are evaluated on and stand in another table too.
    """
    empty = [name for name in tables if not tables[name] and not name.startswith(("pairs", "guard"))]
    if empty:
        raise DataError(f"no rows fall into {', '.join(empty)}. {taken or 'Add data, or raise the shares in data.split.'}")
    prompts = {name: {row["id"] for row in rows} for name, rows in tables.items()}
    prompts["train"] = prompts["train"] | prompts.pop("pairs_train", set())
    places = Counter(identity for ids in prompts.values() for identity in ids)
    twice = sorted(identity for identity, count in places.items() if count > 1)
    if twice:
        raise DataError(f"prompts in two splits: {', '.join(twice[:5])}. Remove the duplicates.")
