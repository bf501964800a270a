"""When two rows count as the same: exactly (NFC and white space), or nearly (MinHash, then Jaccard)."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from ratchet.components.data.boilerplate import divided
from ratchet.components.data.columns import PAIR, TEXTS
from ratchet.components.recipe import NearDuplicates

CONTENT = ["id", *TEXTS]  # what distinguishes rows, in sort order
# A word or a mathematical sign; a character in scripts without spaces between words.
WORDS = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
    r"|[+*/^%=<>\u00b1\u00d7\u00f7\u2212\u221a\u2260\u2264\u2265]|(?<!\w)-"
)


class NearPair(NamedTuple):
    """A row dropped because it resembles one that stays."""

    dropped: str
    kept: str
    similarity: float


def normalise(text: str) -> str:
    """The form in which two texts count as equal: NFC, one kind of line end, runs of spaces within a line collapsed.

    Case, lines, indentation and look-alike characters (``m²`` and ``m2``) distinguish texts.
    """
    lines = re.sub(r"\r\n?|[\u0085\u2028\u2029]", "\n", unicodedata.normalize("NFC", text))
    return re.sub(r"[^\S\n]+(?=\n|$)", "", re.sub(r"(?<=\S)[^\S\n]+", " ", lines)).strip()


def place_of(prompt: str) -> str:
    """The hash that assigns a prompt to a table, 16 hex digits: NFKC, case and white space folded.

    Prompts that differ only in these are in one table, so that none is trained on while a variant is evaluated on.
    """
    folded = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", prompt).casefold()).strip()
    return hashlib.sha256(folded.encode()).hexdigest()[:16]


def prompt_ids(prompts: Sequence[str]) -> list[str]:
    """An id for each prompt: its place, or, if different prompts share one, the hash of its normalised form."""
    keys = [(place_of(prompt), normalise(prompt)) for prompt in prompts]
    forms = Counter(place for place, _ in set(keys))
    return [place if forms[place] == 1 else hashlib.sha256(form.encode()).hexdigest()[:16] for place, form in keys]


def with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the prompt's ``id`` and ``place``, and strip the white space around the prompt."""
    prompts = frame["prompt"].to_list()
    return frame.with_columns(
        pl.col("prompt").str.strip_chars(),
        pl.Series("id", prompt_ids(prompts), dtype=pl.String),
        pl.Series("place", [place_of(prompt) for prompt in prompts], dtype=pl.String),
    )


def unique_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """One problem per prompt, and one preference per (prompt, chosen, rejected).

    Of equal rows the first in canonical order stays, independent of the order and sharding of the source.
    """
    ordered = frame.sort([*CONTENT, "group", "item", "part", "file", "row"], nulls_last=True)
    problems = ordered.filter(pl.col("shape") != PAIR).unique("id", keep="first", maintain_order=True)
    pairs = ordered.filter(pl.col("shape") == PAIR)
    keys = pairs.with_columns(pl.col(c).map_elements(normalise, return_dtype=pl.String) for c in ("chosen", "rejected"))
    first = keys.unique(["id", "chosen", "rejected"], keep="first", maintain_order=True)["number"]
    return pl.concat([problems, pairs.filter(pl.col("number").is_in(first.to_list()))])


def words_of(text: str) -> list[str]:
    """The words of a normalised text; the whole text if it has none."""
    return WORDS.findall(normalise(text)) or [normalise(text)]


def word_sequences(words: Sequence[str], length: int) -> set[str]:
    """Every run of ``length`` words; all words if there are fewer."""
    return {" ".join(words[n : n + length]) for n in range(max(len(words) - length + 1, 1))}


def near_duplicates(prompts: Mapping[str, str], rule: NearDuplicates, priority: Callable[[str], int]) -> list[NearPair]:
    """The rows to drop so that no two remaining rows are similar.

    Rows are taken by (priority, id); one that resembles an earlier one is dropped. So the outcome does not depend on the
    order of the source, and evaluation rows (priority 0) stay if a training row resembles them. Boilerplate does not make
    rows similar.

    Args:
        prompts: id -> prompt.
    """
    from datasketch import MinHash, MinHashLSH

    sequences_of = _sequences(prompts, rule.words)
    index = MinHashLSH(threshold=rule.similarity, num_perm=128, weights=(0.1, 0.9))  # an extra candidate does no harm
    kept: dict[str, set[str]] = {}
    dropped = []
    for identity in sorted(prompts, key=lambda i: (priority(i), i)):
        sequences = sequences_of[identity]
        sketch = MinHash(num_perm=128, seed=1)
        sketch.update_batch([sequence.encode() for sequence in sorted(sequences)])
        near = nearest(sequences, {str(other): kept[other] for other in index.query(sketch)})
        if near is not None and near[1] >= rule.similarity:
            dropped.append(NearPair(identity, *near))
        else:
            index.insert(identity, sketch)
            kept[identity] = sequences
    return dropped


def _sequences(prompts: Mapping[str, str], length: int) -> dict[str, set[str]]:
    """id -> the sequences by which prompts are compared. Boilerplate, and the lack of it at either end, counts as one word."""
    texts = divided([words_of(prompt) for prompt in prompts.values()])
    words = [[w for part in text for w in ([" ".join(part.words)] if part.boilerplate else part.words)] for text in texts]
    return {identity: word_sequences(own, length) for identity, own in zip(prompts, words, strict=True)}


def nearest(sequences: set[str], others: Mapping[str, set[str]]) -> tuple[str, float] | None:
    """The other with the largest Jaccard similarity (the smaller id if tied), or None without others."""
    scored = [(-jaccard(sequences, other), identity) for identity, other in others.items()]
    return (min(scored)[1], -min(scored)[0]) if scored else None


def jaccard(one: Iterable[str], other: Iterable[str]) -> float:
    """Jaccard similarity of two sets; 0 for two empty ones."""
    first, second = set(one), set(other)
    union = len(first | second)
    return len(first & second) / union if union else 0.0
