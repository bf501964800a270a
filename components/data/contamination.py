"""Training rows that share a sequence of words with evaluation rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ratchet.components.data.boilerplate import divided
from ratchet.components.data.splits import TRAINED_ON
from ratchet.components.data.words import Corpus, Hashes, Integers, corpus_of, run_hashes, word_hashes, words_of
from ratchet.components.errors import DataError
from ratchet.components.recipe import Decontaminate

Tables = Mapping[str, pl.DataFrame]
NONE = np.zeros(0, np.uint64)


class Overlap(NamedTuple):
    """A training prompt, and the evaluation table or benchmark file with which it shares words."""

    id: str
    table: str
    other: str
    words: str


class _Evaluated(NamedTuple):
    """The sequences of evaluated prompts in order, and the first table or benchmark that has each."""

    hashes: Hashes
    places: Integers


def overlaps(tables: Tables, benchmarks: Mapping[str, Iterable[str]], rule: Decontaminate) -> list[Overlap]:
    """Each training prompt with the first table or benchmark that it overlaps, in order of table and id.

    Args:
        tables: each with the columns ``id`` and ``prompt``.
        benchmarks: name -> prompts.
    """
    rows = pl.concat([table.select("id", "prompt", table=pl.lit(name)) for name, table in tables.items()])
    prompts = rows["prompt"].unique(maintain_order=True)
    rows = rows.join(prompts.to_frame().with_row_index("text"), on="prompt", how="left", maintain_order="left").drop("prompt")
    own = Sequences(prompts, rule.words)
    del prompts
    names = [name for name in tables if name not in TRAINED_ON]
    place = pl.col("table").replace_strict(names, range(len(names)))
    evaluated = rows.filter(pl.col("table").is_in(names)).select("text", place=place)
    found = [own.places_of(evaluated)]
    for number, given in enumerate(benchmarks.values(), len(names)):
        other = Sequences(dict.fromkeys(given), rule.words)
        found.append(other.places_of(pl.DataFrame({"text": range(len(other.corpus))}).with_columns(place=number)))
    known = _first_places(found)
    trained = rows.filter(pl.col("table").is_in(TRAINED_ON))
    shared = {text: _least(own, text, known) for text in own.texts_with(known.hashes, trained["text"])}
    hit = pl.col("text").is_in(list(shared))
    hits = pl.concat(trained.filter(hit & (pl.col("table") == table)) for table in TRAINED_ON)
    return [
        Overlap(identity, table, [*names, *benchmarks][shared[text][1]], shared[text][0])
        for identity, table, text in hits.select("id", "table", "text").iter_rows()
    ]


def _first_places(found: Sequence[_Evaluated]) -> _Evaluated:
    hashes, places = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.lexsort([places, hashes])
    known, first = np.unique(hashes[order], return_index=True)  # of equal ones the first
    return _Evaluated(known, places[order][first])


def _least(own: "Sequences", text: int, known: _Evaluated) -> tuple[str, int]:
    """The first of a text's sequences that are known, and its place."""
    words, runs = zip(*own.of(text), strict=True)
    hit = _among(np.array(runs, np.uint64), known.hashes)
    first = min(np.flatnonzero(hit).tolist(), key=lambda place: str(words[place]))
    return words[first], int(known.places[np.searchsorted(known.hashes, np.uint64(runs[first]))])


class Sequences:
    """The runs of ``length`` words of prompts, without boilerplate; the whole prompt where it has none.

    Unlike in the comparison of rows, initial and all capitals are ignored: a question that is known in
    capitals is known. Capitals within words count (MW and mW).
    """

    def __init__(self, prompts: Iterable[str], length: int) -> None:
        self.corpus, self.length = _without_titles(corpus_of(map(words_of, prompts))), length
        self.division = divided(self.corpus)
        vocabulary = self.corpus.vocabulary
        self.lower = word_hashes(word.lower() for word in vocabulary)
        self.upper = np.array([word.isupper() for word in vocabulary], bool)
        self.capital = np.array([f"{word}A".isupper() for word in vocabulary], bool)  # nothing in it is lower case

    def places_of(self, texts: pl.DataFrame) -> _Evaluated:
        """The sequences of some texts, and their places, of which a text may have several."""
        first = texts.group_by("text").agg(pl.col("place").min())
        place = np.zeros(len(self.corpus), np.int64)
        place[first["text"].to_numpy()] = first["place"].to_numpy()
        found = [(hashes, place[owners]) for hashes, owners in self._chunks(first["text"])]
        hashes, places = zip(*found, strict=True) if found else ((), ())
        return _Evaluated(np.concatenate([NONE, *hashes]), np.concatenate([NONE.astype(np.int64), *places]))

    def texts_with(self, known: Hashes, texts: pl.Series) -> list[int]:
        """Those of some texts that have one of the known sequences."""
        found = [owners[_among(hashes, known)] for hashes, owners in self._chunks(texts)]
        return [int(text) for text in np.unique(np.concatenate([NONE.astype(np.int64), *found]))]

    def of(self, text: int) -> Iterator[tuple[str, int]]:
        """The sequences of one text, as words and as hashes."""
        hashes, places = self._runs(range(text, text + 1))
        words = self.corpus.words(text)
        if not len(places):
            yield from ((_folded(words), int(run)) for runs, _ in self._wholes(np.array([text])) for run in runs)
        for run, place in zip(hashes.tolist(), places.tolist(), strict=True):
            yield _folded(words[place : place + self.length]), run

    def _chunks(self, texts: pl.Series) -> Iterator[tuple[Hashes, Integers]]:
        """The sequences of some texts, and the text of each."""
        wanted = np.zeros(len(self.corpus), bool)
        wanted[texts.to_numpy()] = True
        for chunk in self.corpus.chunks():
            if not wanted[chunk.start : chunk.stop].any():
                continue
            hashes, places = self._runs(chunk)
            bounds = self.corpus.bounds[chunk.start : chunk.stop + 1] - self.corpus.bounds[chunk.start]
            owners = chunk.start + np.searchsorted(bounds, places, side="right") - 1
            without = np.setdiff1d(np.arange(chunk.start, chunk.stop), owners)
            yield hashes[wanted[owners]], owners[wanted[owners]]
            yield from self._wholes(without[wanted[without]])

    def _runs(self, texts: range) -> tuple[Hashes, Integers]:
        """The runs of consecutive texts that are within own words, and the place of each among the texts' words."""
        begin, end = self.corpus.bounds[texts.start], self.corpus.bounds[texts.stop]
        hashes = self._hashes(self.corpus.numbers[begin:end], self.length)
        part = self.division.own_parts(texts)
        first, last = part[: len(hashes)], part[self.length - 1 :]
        places = np.flatnonzero((first == last) & (first > 0))
        return hashes[places], places

    def _wholes(self, texts: Integers) -> Iterator[tuple[Hashes, Integers]]:
        """The hashes of whole texts, by their length, and the texts."""
        sizes = self.corpus.bounds[texts + 1] - self.corpus.bounds[texts]
        for size in np.unique(sizes).tolist():
            some = texts[sizes == size]
            places = self.corpus.bounds[some][:, None] + np.arange(size)
            yield self._hashes(self.corpus.numbers[places.ravel()], size)[::size], some

    def _hashes(self, numbers: NDArray[np.uint32], length: int) -> Hashes:
        """The hashes of runs, in lower case where all of a run's words are capitals."""
        hashes = run_hashes(self.corpus.hashes[numbers], length)
        runs, upper = len(hashes), self.upper[numbers]
        if not upper.any():
            return hashes
        capital = self.capital[numbers]
        all_capital = np.all([capital[step : step + runs] for step in range(length)], axis=0)
        any_upper = np.any([upper[step : step + runs] for step in range(length)], axis=0)
        return np.where(all_capital & any_upper, run_hashes(self.lower[numbers], length), hashes)


def _without_titles(corpus: Corpus) -> Corpus:
    """The texts with words that only begin with a capital in lower case."""
    known: dict[str, int] = {}
    folded = (word.lower() if word.istitle() else word for word in corpus.vocabulary)
    numbers = np.array([known.setdefault(word, len(known)) for word in folded], np.uint32)
    return Corpus(numbers[corpus.numbers], corpus.bounds, list(known))


def _folded(words: Sequence[str]) -> str:
    run = " ".join(words)
    return run.lower() if run.isupper() else run


def _among(values: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each value is one of those known, which are in order."""
    if not len(known):
        return np.zeros(len(values), bool)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values
    return found


def without(tables: Tables, found: Sequence[Overlap]) -> dict[str, pl.DataFrame]:
    """The tables without the training prompts that overlap."""
    bad = pl.Series([overlap.id for overlap in found], dtype=pl.String)
    left = ~pl.col("id").is_in(bad.implode())
    return {name: table.filter(left) if name in TRAINED_ON else table for name, table in tables.items()}


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
