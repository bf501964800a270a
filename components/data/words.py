"""Texts as words, and the words of many texts as numbers in one array: a million texts of 50 words take 200 MB."""

import hashlib
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ratchet.components.data.normal_form import normalise

# A word or a mathematical sign; a character in scripts without spaces between words.
WORDS = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
    r"|[+*/^%=<>\u00b1\u00d7\u00f7\u2212\u221a\u2260\u2264\u2265]|(?<!\w)-"
)
CHUNK = 20_000  # texts whose runs are hashed at once
MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that no bit of a hash is lost

Words = Sequence[str]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def words_of(text: str) -> list[str]:
    """The words of a normalised text; the whole text if it has none."""
    normal = normalise(text)
    return WORDS.findall(normal) or [normal]


@dataclass(frozen=True)
class Corpus:
    """Texts as numbers of words: text n is ``numbers[bounds[n]:bounds[n + 1]]``, and number k stands for ``vocabulary[k]``."""

    numbers: NDArray[np.uint32]  # [words of all texts]
    bounds: Integers  # [texts + 1]
    vocabulary: list[str]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def hashes(self) -> Hashes:
        """A hash of each word of the vocabulary, the same in every corpus."""
        return word_hashes(self.vocabulary)

    def words(self, text: int) -> list[str]:
        """The words of one text."""
        return [self.vocabulary[number] for number in self.numbers[self.bounds[text] : self.bounds[text + 1]].tolist()]

    def runs(self, texts: range, length: int) -> tuple[Hashes, Integers]:
        """The hashes of the runs of ``length`` words of consecutive texts, and how many each text has."""
        bounds = self.bounds[texts.start : texts.stop + 1] - self.bounds[texts.start]
        hashes = run_hashes(self.hashes[self.numbers[self.bounds[texts.start] : self.bounds[texts.stop]]], length)
        inside = np.ones(bounds[-1], bool)
        for step in range(1, length):
            inside[np.maximum(bounds[1:] - step, 0)] = False  # a run from there on ends in the next text
        return hashes[inside[: len(hashes)]], np.maximum(np.diff(bounds) - length + 1, 0)

    def chunks(self) -> Iterator[range]:
        """Ranges of texts, so that what is computed for one of them fits in memory."""
        return (range(first, min(first + CHUNK, len(self))) for first in range(0, len(self), CHUNK))


def corpus_of(texts: Iterable[Words]) -> Corpus:
    """The texts, each of at least one word, with the words numbered in order of appearance."""
    known: dict[str, int] = defaultdict(count().__next__)
    numbers, bounds = array("I"), array("q", [0])
    for text in texts:
        numbers.extend(map(known.__getitem__, text))
        bounds.append(len(numbers))
    return Corpus(np.frombuffer(numbers, np.uint32), np.frombuffer(bounds, np.int64), list(known))


def word_hashes(words: Iterable[str]) -> Hashes:
    """A 64-bit hash of each word."""
    digests = b"".join(hashlib.blake2b(word.encode(), digest_size=8).digest() for word in words)
    return np.frombuffer(digests, np.uint64)


def run_hashes(words: Hashes, length: int) -> Hashes:
    """A 64-bit hash of every run of ``length`` words, given by their hashes, [len(words) - length + 1]."""
    runs = max(len(words) - length + 1, 0)
    hashes = np.zeros(runs, np.uint64)
    for step in range(length):
        hashes = hashes * np.uint64(MULTIPLIER) + words[step : step + runs]
    return hashes
