"""Rows whose prompts are nearly the same: MinHash (Broder, 1997) finds candidates, the Jaccard similarity decides."""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ratchet.components.data.boilerplate import divided
from ratchet.components.data.words import Corpus, Hashes, corpus_of, words_of
from ratchet.components.recipe import NearDuplicates

PERMUTATIONS = 128  # of a sketch, at most
RECALL = 0.99  # of the pairs that are just similar enough, the least share that is compared
BANDS_AT_ONCE = 3  # bounds the memory of the sketches
PADDING = " "  # no word: words have no white space around them
SEED = 1


class NearPair(NamedTuple):
    """A row dropped because it resembles one that stays."""

    dropped: str
    kept: str
    similarity: float


class Bands(NamedTuple):
    """Two rows are candidates if their sketches agree in all values of one of the bands."""

    number: int
    values: int  # of each

    @property
    def permutations(self) -> int:
        return self.number * self.values


def near_duplicates(rows: pl.DataFrame, rule: NearDuplicates) -> list[NearPair]:
    """The rows to drop so that no two remaining rows are similar.

    Rows are taken by (priority, id); one that resembles an earlier one is dropped. So the outcome does not depend on the
    order of the source, and evaluation rows (priority 0) stay if a training row resembles them. Boilerplate does not make
    rows similar.

    Args:
        rows: columns ``id``, ``prompt`` and ``priority``, one row per id.
    """
    from rensa import RMinHash, RMinHashLSH

    ordered = rows.select("id", "prompt", "priority").sort("priority", "id")
    ids, texts = ordered["id"], compared_texts(ordered["prompt"], rule.words)
    del ordered, rows
    bands = bands_for(rule.similarity)
    index = RMinHashLSH(rule.similarity, bands.permutations, bands.number)
    kept: dict[int, Hashes] = {}
    dropped = []
    for row in np.flatnonzero(_suspects(texts, rule)).tolist():
        runs = np.unique(texts.runs(range(row, row + 1), rule.words)[0])
        sketch = RMinHash(bands.permutations, SEED)
        sketch.update([run.to_bytes(8, "little") for run in runs.tolist()])
        scored = [(-jaccard(runs, kept[other]), ids[other]) for other in index.query(sketch)]
        if scored and -min(scored)[0] >= rule.similarity:  # of equally similar ones the smaller id
            dropped.append(NearPair(ids[row], min(scored)[1], -min(scored)[0]))
        else:
            index.insert(row, sketch)
            kept[row] = runs
    return dropped


def bands_for(similarity: float) -> Bands:
    """The longest bands with which two rows of this similarity are candidates with a probability of at least RECALL.

    They agree in a band of r values with probability s^r, so that 1 - (1 - s^r)^b of such pairs are found with b bands.
    """
    fitting = [r for r in range(1, PERMUTATIONS + 1) if 1 - (1 - similarity**r) ** (PERMUTATIONS // r) >= RECALL]
    values = max(fitting, default=1)
    return Bands(PERMUTATIONS // values, values)


def compared_texts(prompts: Iterable[str], length: int) -> Corpus:
    """The words by which prompts are compared: boilerplate, and the lack of it at either end, counts as one word.

    A text of fewer words than a run has is filled up.
    """
    division = divided(corpus_of(map(words_of, prompts)))
    given = division.corpus
    known = {word: number for number, word in enumerate(given.vocabulary)}
    numbers, bounds = array("I"), array("q", [0])
    for text in range(len(given)):
        for boilerplate, places in division.parts(text):
            own = given.numbers[given.bounds[text] + places.start : given.bounds[text] + places.stop]
            if boilerplate:
                words = " ".join(given.vocabulary[number] for number in own.tolist())
                numbers.append(known.setdefault(words, len(known)))
            else:
                numbers.frombytes(own.tobytes())
        missing = length - (len(numbers) - bounds[-1])
        numbers.extend([known.setdefault(PADDING, len(known))] * missing)
        bounds.append(len(numbers))
    return Corpus(np.frombuffer(numbers, np.uint32), np.frombuffer(bounds, np.int64), list(known))


def _suspects(texts: Corpus, rule: NearDuplicates) -> NDArray[np.bool_]:
    """Whether each text shares a band with another one, [texts]."""
    from rensa import RMinHash, RMinHashLSH

    hashes, bounds = _all_runs(texts, rule.words)
    bands, found = bands_for(rule.similarity), np.zeros(len(texts), bool)
    for first in range(0, bands.number, BANDS_AT_ONCE):
        some = Bands(min(BANDS_AT_ONCE, bands.number - first), bands.values)
        sketches = RMinHash.digest_matrix_from_flat_token_hashes(hashes, bounds, some.permutations, SEED + 1 + first)
        index = RMinHashLSH(rule.similarity, some.permutations, some.number)
        found |= np.array(index.query_duplicate_flags_matrix_one_shot(sketches), bool)
    return found


def _all_runs(texts: Corpus, length: int) -> tuple[Hashes, NDArray[np.uint64]]:
    """The runs of all texts, and where each text's begin, [texts + 1]."""
    bounds = np.concatenate([[0], np.cumsum(np.diff(texts.bounds) - length + 1)])
    hashes = np.empty(bounds[-1], np.uint64)
    for chunk in texts.chunks():
        hashes[bounds[chunk.start] : bounds[chunk.stop]], _ = texts.runs(chunk, length)
    return hashes, bounds.astype(np.uint64)


def jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard similarity of two sets, each given without repetition."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
