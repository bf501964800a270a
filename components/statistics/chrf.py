"""chrF, the F-score of character n-grams (Popović 2015, https://aclanthology.org/W15-3049), counted as sacreBLEU counts it.

It is computed from tallies, [..., 3, 6] by n-gram length of 1 to 6: n-grams that text and reference share, those of the
reference, and those of the text. Tallies of single texts add up, and chrF of the sums is that of the corpus.
"""

from collections import Counter

import numpy as np

from ratchet.components.statistics.intervals import Floats, Integers

LONGEST = 6  # characters of an n-gram
BETA = 2  # recall counts so many times as much as precision


def ngram_tallies(text: str, reference: str) -> Integers:
    """The tallies of one text, [3, 6]. White space is left out, and case counts.

    n-grams of the text that are longer than the reference do not count.
    """
    ours, theirs = ("".join(one.split()) for one in (text, reference))
    sizes = range(1, min(LONGEST, len(theirs)) + 1)
    tallies = np.zeros((3, LONGEST), dtype=np.int64)
    for size in sizes:
        mine, expected = _ngrams(ours, size), _ngrams(theirs, size)
        tallies[:, size - 1] = (mine & expected).total(), expected.total(), mine.total()
    return tallies


def chrf(tallies: Floats) -> Floats:
    """chrF in [0, 1], from [..., 3, 6] to [...]; NaN without a reference.

    (1 + beta^2) P R / (beta^2 P + R), where P = shared / of the text and R = shared / of the reference are means over the
    lengths of which both sides have n-grams ("effective order").
    """
    shared, references, texts = tallies[..., 0, :], tallies[..., 1, :], tallies[..., 2, :]
    counted = (references > 0) & (texts > 0)
    lengths = np.maximum(counted.sum(axis=-1), 1)
    precision, recall = (
        np.divide(shared, below, out=np.zeros_like(below, dtype=np.float64), where=counted).sum(axis=-1) / lengths
        for below in (texts, references)
    )
    weighted = BETA**2 * precision + recall
    score = np.divide((1 + BETA**2) * precision * recall, weighted, out=np.zeros_like(weighted), where=weighted > 0)
    return np.where(references.sum(axis=-1) > 0, score, np.nan)


def _ngrams(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))
