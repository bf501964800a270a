"""Training rows that share a sequence of words with evaluation rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ratchet.components.data.boilerplate import Part, divided
from ratchet.components.data.duplicates import word_sequences, words_of
from ratchet.components.data.splits import TRAINED_ON
from ratchet.components.errors import DataError
from ratchet.components.recipe import Decontaminate

Rows = list[dict[str, Any]]


class Overlap(NamedTuple):
    """A training prompt, and the evaluation table or benchmark file with which it shares words."""

    id: str
    table: str
    other: str
    words: str


def overlaps(tables: Mapping[str, Rows], benchmarks: Mapping[str, Iterable[str]], rule: Decontaminate) -> list[Overlap]:
    """Each training prompt with the first table or benchmark that it overlaps, in order of table and id.

    Args:
        benchmarks: name -> prompts.
    """
    own = own_sequences((row["prompt"] for rows in tables.values() for row in rows), rule.words)
    held_out = {name: [own[row["prompt"]] for row in rows] for name, rows in tables.items() if name not in TRAINED_ON}
    held_out |= {name: list(own_sequences(prompts, rule.words).values()) for name, prompts in benchmarks.items()}
    places: dict[str, str] = {}
    for name, sequences in held_out.items():
        for words in set().union(*sequences):
            places.setdefault(words, name)
    found = []
    for table in TRAINED_ON:
        for row in tables.get(table, []):
            shared = sorted(own[row["prompt"]] & places.keys())
            if shared:
                found.append(Overlap(row["id"], table, places[shared[0]], shared[0]))
    return found


def own_sequences(prompts: Iterable[str], length: int) -> dict[str, set[str]]:
    """Prompt -> its runs of ``length`` words without boilerplate; if there are none, the whole prompt.

    Unlike in the comparison of rows, initial and all capitals are ignored: a question that is known in
    capitals is known. Capitals within words count (MW and mW).
    """
    unique = list(dict.fromkeys(prompts))
    texts = divided([[word.lower() if word.istitle() else word for word in words_of(prompt)] for prompt in unique])
    return {prompt: _runs(parts, length) for prompt, parts in zip(unique, texts, strict=True)}


def _runs(parts: Sequence[Part], length: int) -> set[str]:
    own = [part.words for part in parts if not part.boilerplate and len(part.words) >= length]
    whole = [word for part in parts for word in part.words]
    runs = set().union(*(word_sequences(words, length) for words in own)) if own else {" ".join(whole)}
    return {run.lower() if run.isupper() else run for run in runs}


def without(tables: Mapping[str, Rows], found: Sequence[Overlap]) -> dict[str, Rows]:
    """The tables without the training prompts that overlap."""
    bad = {overlap.id for overlap in found}
    return {
        name: [row for row in rows if row["id"] not in bad] if name in TRAINED_ON else rows for name, rows in tables.items()
    }


def refuse(found: Sequence[Overlap], rule: Decontaminate) -> None:
    """Reject overlapping rows if the recipe does not drop them.

    Raises:
        DataError: listing their ids.
    """
    if found and rule.policy == "refuse":
        lines = [
            f"  {overlap.id} of {overlap.table} shares {rule.words} words with {overlap.other}" for overlap in found[:1_000]
        ]
        more = [f"  ... and {len(found) - 1_000} more"] if len(found) > 1_000 else []
        head = f"{len(found)} training prompts overlap evaluation prompts:"
        raise DataError("\n".join([head, *lines, *more, "Remove them, or set data.decontaminate.policy=drop."]))
