"""Training rows that share a sequence of words with rows that are evaluated on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from components.data.duplicates import word_sequences
from components.errors import DataError
from components.recipe import Decontaminate

TRAINED_ON = ("train", "pairs_train")
Rows = list[dict[str, Any]]


class Overlap(NamedTuple):
    """A training prompt, and the evaluated table or benchmark file that it shares words with."""

    id: str
    table: str
    other: str
    words: str


def overlaps(tables: Mapping[str, Rows], benchmarks: Mapping[str, Iterable[str]], rule: Decontaminate) -> list[Overlap]:
    """Each training prompt with the first table or benchmark that it overlaps, in order of table and id.

    Args:
        benchmarks: name -> prompts.
    """
    held_out = {name: [row["prompt"] for row in rows] for name, rows in tables.items() if name not in TRAINED_ON}
    places: dict[str, str] = {}
    for name, prompts in [*held_out.items(), *benchmarks.items()]:
        for prompt in prompts:
            for words in word_sequences(prompt, rule.words):
                places.setdefault(words, name)
    found = []
    for table in TRAINED_ON:
        for row in tables.get(table, []):
            shared = sorted(word_sequences(row["prompt"], rule.words) & places.keys())
            if shared:
                found.append(Overlap(row["id"], table, places[shared[0]], shared[0]))
    return found


def without(tables: Mapping[str, Rows], found: Sequence[Overlap]) -> dict[str, Rows]:
    """The tables without the training prompts that overlap."""
    bad = {overlap.id for overlap in found}
    return {
        name: [row for row in rows if row["id"] not in bad] if name in TRAINED_ON else rows for name, rows in tables.items()
    }


def refuse(found: Sequence[Overlap], rule: Decontaminate) -> None:
    """Refuse overlapping rows where the recipe does not drop them.

    Raises:
        DataError: listing their ids.
    """
    if found and rule.policy == "refuse":
        lines = [
            f"  {overlap.id} of {overlap.table} shares {rule.words} words with {overlap.other}" for overlap in found[:1_000]
        ]
        more = [f"  ... and {len(found) - 1_000} more"] if len(found) > 1_000 else []
        head = f"{len(found)} training prompts overlap what they are evaluated on:"
        raise DataError("\n".join([head, *lines, *more, "Remove them, or set data.decontaminate.policy=drop."]))
