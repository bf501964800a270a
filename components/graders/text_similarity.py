"""How similar two texts are, from 0 to 1: fuzzy_match, ROUGE, GLEU and chrF. A guard or a shaped reward; a poor gold.

fuzzy_match is rapidfuzz's normalised indel similarity of the characters. ROUGE-N and ROUGE-L are F1 scores (Lin 2004,
https://aclanthology.org/W04-1013); GLEU is the smaller of precision and recall over 1- to 4-grams (Wu et al. 2016,
arXiv:1609.08144). Words are runs of letters and digits in lower case; nothing is stemmed. Of chrF
(components/statistics/chrf.py) a grade has the tallies, too, from which the corpus's is computed.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.spaces import reference_of
from ratchet.components.statistics.chrf import chrf, ngram_tallies

LIBRARIES = ("rapidfuzz",)
LONGEST = 100_000  # characters of either text; what is longer is cut
_WORD = re.compile(r"[^\W_]+")

Metric = Callable[[str, str], float]


def rule(metric: str, reference: str, passes_at: float | None = None) -> Callable[[str, Mapping[str, Any]], Grade]:
    """The similarity of the completion to the reference; passed from ``passes_at`` on. Without a reference, None."""
    grade_of, expected_of = _grader_of(metric, passes_at), reference_of(reference)

    def judge(completion: str, row: Mapping[str, Any]) -> Grade:
        expected = expected_of(row)
        if not isinstance(expected, str) or not expected.strip():
            return Grade(None, reason="the reference is not a text, or is empty")
        return grade_of(completion, expected)

    return judge


def _grader_of(metric: str, passes_at: float | None) -> Callable[[str, str], Grade]:
    if metric == "chrf":
        return lambda text, reference: _with_tallies(text, reference, passes_at)
    measure = metric_of(metric)
    return lambda text, reference: graded(measure(text, reference), passes_at)


def _with_tallies(text: str, reference: str, passes_at: float | None) -> Grade:
    tallies = ngram_tallies(text[:LONGEST], reference[:LONGEST])
    return replace(graded(float(chrf(tallies.astype(np.float64))), passes_at), tallies=tallies.tolist())


def graded(similarity: float, passes_at: float | None) -> Grade:
    return Grade(similarity, passed=None if passes_at is None else similarity >= passes_at)


def metric_of(name: str) -> Metric:
    """The function of a metric's name: of a completion and a reference, in [0, 1]."""
    if name.startswith("rouge_") and name != "rouge_l":
        size = int(name.removeprefix("rouge_"))
        return lambda text, reference: rouge_n(words(text), words(reference), size)
    metrics: dict[str, Metric] = {
        "fuzzy_match": fuzzy_match,
        "rouge_l": lambda text, reference: rouge_l(words(text), words(reference)),
        "gleu": lambda text, reference: gleu(words(text), words(reference)),
    }
    return metrics[name]


def words(text: str) -> list[str]:
    return _WORD.findall(text[:LONGEST].lower())


def fuzzy_match(text: str, reference: str) -> float:
    """1 - (insertions + deletions) / (both lengths)."""
    from rapidfuzz.distance import Indel

    return float(Indel.normalized_similarity(text[:LONGEST], reference[:LONGEST]))


def rouge_n(text: Sequence[str], reference: Sequence[str], size: int) -> float:
    """F1 of the n-grams that both have."""
    ours, theirs = _grams(text, size), _grams(reference, size)
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(text: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence of words."""
    from rapidfuzz.distance import LCSseq

    return _f1(int(LCSseq.similarity(text, reference)), len(text), len(reference))


def gleu(text: Sequence[str], reference: Sequence[str], longest: int = 4) -> float:
    """n-grams that both have, over those of the text that has more."""
    sizes = range(1, longest + 1)
    ours, theirs = ([_grams(side, size) for size in sizes] for side in (text, reference))
    common = sum((a & b).total() for a, b in zip(ours, theirs, strict=True))
    most = max(sum(grams.total() for grams in side) for side in (ours, theirs))
    return common / most if most else 0.0


def _grams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0
