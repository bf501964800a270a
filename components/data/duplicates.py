"""When two rows count as the same: exactly (NFKC, case, white space), or nearly (MinHash, then Jaccard)."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import polars as pl

from components.data.shapes import PAIR, PROBLEM
from components.recipe import NearDuplicates

COLUMNS = ["id", "prompt", "answer", "demonstration", "chosen", "rejected"]
# A word; of scripts that put no space between words a character.
WORDS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")


class NearPair(NamedTuple):
    """A row that was dropped for its likeness to one that stays."""

    dropped: str
    kept: str
    similarity: float


def normalise(prompt: str) -> str:
    """The form in which two prompts count as the same: NFKC, case and white space folded."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", prompt).casefold()).strip()


def prompt_id(prompt: str) -> str:
    """A stable id of a prompt: sha256 of its normalised form, 16 hex digits."""
    return hashlib.sha256(normalise(prompt).encode()).hexdigest()[:16]


def with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``prompt``, the question without the space around it, and its ``id``."""
    return frame.with_columns(
        pl.col("question").str.strip_chars().alias("prompt"),
        pl.col("question").map_elements(prompt_id, return_dtype=pl.String).alias("id"),
    )


def unique_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """One problem a prompt, and one preference a (prompt, chosen, rejected).

    Of equal rows the first in canonical order stays, which does not depend on the order and sharding of the source.
    """
    ordered = frame.sort([*COLUMNS, "group", "part", "file", "row"], nulls_last=True)
    problems = ordered.filter(pl.col("shape") == PROBLEM).unique("id", keep="first", maintain_order=True)
    pairs = ordered.filter(pl.col("shape") == PAIR)
    keys = pairs.with_columns(pl.col(c).map_elements(normalise, return_dtype=pl.String) for c in ("chosen", "rejected"))
    first = keys.unique(["id", "chosen", "rejected"], keep="first", maintain_order=True)["number"]
    return pl.concat([problems, pairs.filter(pl.col("number").is_in(first.to_list()))])


def word_sequences(text: str, words: int) -> set[str]:
    """Every run of ``words`` words of a normalised text; of a shorter text the whole."""
    found = WORDS.findall(normalise(text)) or [normalise(text)]
    return {" ".join(found[n : n + words]) for n in range(max(len(found) - words + 1, 1))}


def near_duplicates(prompts: Mapping[str, str], rule: NearDuplicates, priority: Callable[[str], int]) -> list[NearPair]:
    """The rows to drop so that no two that stay are alike.

    Rows are taken by (priority, id); one that is like a row taken before is dropped. So the outcome does not depend on the
    order of the source, and evaluation rows (priority 0) stay where a training row resembles them.

    Args:
        prompts: id -> prompt.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=rule.similarity, num_perm=128)
    kept: dict[str, set[str]] = {}
    dropped = []
    for identity in sorted(prompts, key=lambda i: (priority(i), i)):
        sequences = word_sequences(prompts[identity], rule.words)
        sketch = MinHash(num_perm=128, seed=1)
        sketch.update_batch([sequence.encode() for sequence in sorted(sequences)])
        near = nearest(sequences, {str(other): kept[other] for other in index.query(sketch)})
        if near is not None and near[1] >= rule.similarity:
            dropped.append(NearPair(identity, *near))
        else:
            index.insert(identity, sketch)
            kept[identity] = sequences
    return dropped


def nearest(sequences: set[str], others: Mapping[str, set[str]]) -> tuple[str, float] | None:
    """The other with the largest Jaccard similarity (the smaller id of equal ones), or None without others."""
    scored = [(-jaccard(sequences, other), identity) for identity, other in others.items()]
    return (min(scored)[1], -min(scored)[0]) if scored else None


def jaccard(one: Iterable[str], other: Iterable[str]) -> float:
    """Shared share of two sets; 0 of two empty ones."""
    first, second = set(one), set(other)
    union = len(first | second)
    return len(first & second) / union if union else 0.0
