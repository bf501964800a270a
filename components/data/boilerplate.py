"""Words that many prompts share and that do not distinguish them: instructions, system prompts, chat templates.

Words that many prompts have in common are boilerplate if the prompts differ next to them: after an instruction come
as many questions as there are rows. Prompts that really are near duplicates do not diverge at any one place, so that none of
their words is boilerplate.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ratchet.components.data.words import MULTIPLIER, Corpus, Hashes, Integers, run_hashes

SHARE, FEWEST = 0.03, 20  # words in more prompts than both of these are shared by many
LEAVE = 0.2  # at least this share of the prompts that share words must not continue in the most common way

LENGTH = 5  # words of boilerplate in the middle of a text; at its ends it may have fewer
BUCKETS = 2**20  # of hashes, in the first count of runs
OUTSIDE = -1  # the neighbour of a run at the edge of its text


class Part(NamedTuple):
    """Consecutive words of a prompt, all boilerplate or all specific to it."""

    boilerplate: bool
    words: range  # places in the text


@dataclass(frozen=True)
class Division:
    """Where the boilerplate of each text stands: before ``starts``, from ``ends`` on, and in ``middles`` between them."""

    corpus: Corpus
    starts: Integers  # [texts], words
    ends: Integers  # [texts], words
    middles: dict[int, list[range]]  # of the texts that have boilerplate there

    def parts(self, text: int) -> list[Part]:
        """One text as [beginning, own words and boilerplate between them, end]; beginning and end are boilerplate."""
        start, end = int(self.starts[text]), int(self.ends[text])
        size = int(self.corpus.bounds[text + 1] - self.corpus.bounds[text])
        edges = [start, *(edge for block in self.middles.get(text, []) for edge in (block.start, block.stop)), end]
        between = [Part(place % 2 == 1, range(*edge)) for place, edge in enumerate(pairwise(edges))]
        return [Part(True, range(start)), *(part for part in between if part.words), Part(True, range(end, size))]

    def own_parts(self, texts: range) -> Integers:
        """For each word of consecutive texts, the part of own words that it belongs to, numbered from 1; 0 in boilerplate."""
        bounds = self.corpus.bounds[texts.start : texts.stop + 1] - self.corpus.bounds[texts.start]
        places, owners = np.arange(bounds[-1]), np.repeat(np.arange(len(texts)), np.diff(bounds))
        within = places - bounds[owners]
        own = (within >= self.starts[texts.start : texts.stop][owners]) & (within < self.ends[texts.start : texts.stop][owners])
        for text in self.middles.keys() & texts:
            for block in self.middles[text]:
                begin = bounds[text - texts.start]
                own[begin + block.start : begin + block.stop] = False
        begins = own & np.concatenate([[True], ~own[:-1] | (owners[1:] != owners[:-1])])
        return np.where(own, np.cumsum(begins), 0)


def divided(corpus: Corpus) -> Division:
    """Each text with its boilerplate; most have none.

    The words between beginning and end are the same with and without an instruction. A text that is all boilerplate counts
    as specific.
    """
    least = max(FEWEST, int(SHARE * len(corpus)))
    sizes = np.diff(corpus.bounds)
    starts, ends = _beginnings(corpus, least), sizes - _beginnings(corpus, least, backwards=True)
    whole = starts >= ends
    starts, ends = np.where(whole, 0, starts), np.where(whole, sizes, ends)
    return Division(corpus, starts, ends, _Middles(corpus, starts, ends, least).blocks())


def _beginnings(corpus: Corpus, least: int, backwards: bool = False) -> Integers:
    """How many of each text's first words are boilerplate: the longest shared prefix that many texts continue differently."""
    sizes, lengths = np.diff(corpus.bounds), np.zeros(len(corpus), np.int64)
    waiting = [(0, np.arange(len(corpus)))]
    while waiting:
        depth, members = waiting.pop()
        places = corpus.bounds[members + 1] - 1 - depth if backwards else corpus.bounds[members] + depth
        inside = depth < sizes[members]
        following = np.where(inside, corpus.numbers[np.where(inside, places, 0)].astype(np.int64), OUTSIDE)
        branches = np.bincount(following - OUTSIDE)
        if depth and _differ(len(members), int(branches.max())):
            lengths[members] = depth
        large = np.flatnonzero(branches > least) + OUTSIDE
        waiting += [(depth + 1, members[following == word]) for word in large.tolist() if word != OUTSIDE]
    return lengths


def _differ(members: int, largest: int) -> bool:
    return members - largest >= LEAVE * members


class _Runs(NamedTuple):
    """The runs of LENGTH own words of some consecutive texts."""

    hashes: Hashes
    texts: Integers  # of each run, among all texts
    places: Integers  # of its first word, among all words
    before: Integers  # the word before it, or OUTSIDE
    after: Integers


class _Middles:
    """Boilerplate of at least LENGTH words between the beginnings and the ends of texts."""

    def __init__(self, corpus: Corpus, starts: Integers, ends: Integers, least: int) -> None:
        self.corpus, self.least = corpus, least
        self.first, self.last = corpus.bounds[:-1] + starts, corpus.bounds[:-1] + ends  # of own words, among all words
        self.starts = starts

    def blocks(self) -> dict[int, list[range]]:
        """Text -> boilerplate between its own words. A text that has nothing else is left out."""
        common = self._common()
        if not len(common):
            return {}
        opening, closing = self._leaving(common)
        found = {}
        for runs in self._runs():
            kinds = [np.isin(runs.hashes, hashes) for hashes in (common, opening, closing)]
            for text in np.unique(runs.texts[kinds[1]]).tolist():
                own = slice(*np.searchsorted(runs.texts, [text, text + 1]))
                blocks = list(_joined(_blocks(*(kind[own].tolist() for kind in kinds))))
                if blocks and sum(map(len, blocks)) < self.last[text] - self.first[text]:
                    start = int(self.starts[text])
                    found[text] = [range(start + block.start, start + block.stop) for block in blocks]
        return found

    def _runs(self) -> Iterator[_Runs]:
        corpus = self.corpus
        for chunk in corpus.chunks():
            begin, end = corpus.bounds[chunk.start], corpus.bounds[chunk.stop]
            numbers = corpus.numbers[begin:end]
            texts = np.repeat(np.arange(chunk.start, chunk.stop), np.diff(corpus.bounds[chunk.start : chunk.stop + 1]))
            places = np.arange(begin, end)
            inside = np.flatnonzero((places >= self.first[texts]) & (places + LENGTH <= self.last[texts]))
            texts, places = texts[inside], places[inside]
            before = np.where(places > self.first[texts], numbers[inside - 1].astype(np.int64), OUTSIDE)
            behind = np.minimum(inside + LENGTH, len(numbers) - 1)
            after = np.where(places + LENGTH < self.last[texts], numbers[behind].astype(np.int64), OUTSIDE)
            yield _Runs(run_hashes(corpus.hashes[numbers], LENGTH)[inside], texts, places, before, after)

    def _common(self) -> Hashes:
        """The runs that are in more texts than ``least``, in order. Only those in full buckets are counted one by one."""
        filled = np.zeros(BUCKETS, np.int64)
        for runs in self._runs():
            filled += np.bincount((runs.hashes % np.uint64(BUCKETS)).astype(np.int64), minlength=BUCKETS)
        full, counts = filled > self.least, Counter[int]()
        if full.any():
            for runs in self._runs():
                some = full[(runs.hashes % np.uint64(BUCKETS)).astype(np.int64)]
                counts.update(run for run, _, _ in _counted(runs.hashes[some], runs.texts[some]))
        return np.array(sorted(run for run, number in counts.items() if number > self.least), np.uint64)

    def _leaving(self, common: Hashes) -> tuple[Hashes, Hashes]:
        """The common runs that have different words before them, and those that have different words after them."""
        before: dict[int, Counter[int]] = defaultdict(Counter)
        after: dict[int, Counter[int]] = defaultdict(Counter)
        for runs in self._runs():
            some = np.isin(runs.hashes, common)
            for found, words in ((before, runs.before[some]), (after, runs.after[some])):
                for run, word, number in _counted(runs.hashes[some], words):
                    found[run][word] += number
        opening, closing = (
            np.array([run for run, words in found.items() if _differ(words.total(), max(words.values()))], np.uint64)
            for found in (before, after)
        )
        return opening, closing


def _counted(hashes: Hashes, values: Integers) -> Iterator[tuple[int, int, int]]:
    """Each (hash, value) that there is, and how often."""
    pairs = hashes + values.astype(np.uint64) * np.uint64(MULTIPLIER)  # hashes are 64 random bits, and so are these
    _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
    return zip(hashes[first].tolist(), values[first].tolist(), counts.tolist(), strict=True)


def _blocks(common: list[bool], opening: list[bool], closing: list[bool]) -> Iterator[range]:
    """Places of words, from a run that opens boilerplate to the last one that closes it with only common runs in between.

    Args:
        common, opening, closing: whether each run of a text is so.
    """
    place = 0
    while place < len(common):
        if not opening[place]:
            place += 1
            continue
        stop = next((n for n in range(place, len(common)) if not common[n]), len(common))
        closes = [n for n in range(place, stop) if closing[n]]
        if closes:
            yield range(place, closes[-1] + LENGTH)
        place = stop


def _joined(blocks: Iterator[range]) -> Iterator[range]:
    """Blocks that touch or overlap as one: a run's words may stand in the next block too."""
    waiting: range | None = None
    for block in blocks:
        if waiting is not None and block.start <= waiting.stop:
            waiting = range(waiting.start, max(waiting.stop, block.stop))
            continue
        if waiting is not None:
            yield waiting
        waiting = block
    if waiting is not None:
        yield waiting
