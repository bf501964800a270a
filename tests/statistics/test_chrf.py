"""chrF by hand. "aab" against "ab b" is "aab" against "abb", without the white space.

Shared of the text, of the reference: characters a, b of 3 and 3; pairs ab of 2 and 2; triples none of 1 and 1.
"""

import numpy as np
import pytest

from ratchet.components.statistics.chrf import chrf, ngram_tallies

SHORT = [[2, 1, 0, 0, 0, 0], [3, 2, 1, 0, 0, 0], [3, 2, 1, 0, 0, 0]]


def score(text: str, reference: str) -> float:
    return float(chrf(ngram_tallies(text, reference).astype(float)))


def test_tallies_by_hand() -> None:
    assert ngram_tallies("aab", "ab b").tolist() == SHORT


def test_n_grams_that_are_longer_than_the_reference_do_not_count() -> None:
    assert ngram_tallies("abcdefgh", "ab").tolist() == [[2, 1, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0], [8, 7, 0, 0, 0, 0]]
    assert ngram_tallies("", "abc").tolist() == [[0] * 6, [3, 2, 1, 0, 0, 0], [0] * 6]


def test_a_repeated_n_gram_is_shared_as_often_as_both_have_it() -> None:
    assert ngram_tallies("aaaa", "aab")[:, :2].tolist() == [[2, 1], [3, 2], [4, 3]]


def test_chrf_by_hand() -> None:
    # P = R = (2/3 + 1/2 + 0) / 3
    assert score("aab", "ab b") == pytest.approx(7 / 18)
    # P = 1 and R = (2/4 + 1/3) / 2 over the two lengths that the text has: 5 P R / (4 P + R)
    recall = 5 / 12
    assert score("ab", "abcd") == pytest.approx(5 * recall / (4 + recall))
    # The other way about precision is short, which counts a quarter: P = (2/4 + 1/3) / 2, R = 1
    assert score("abcd", "ab") == pytest.approx(5 * recall / (4 * recall + 1))


def test_the_corpus_is_judged_by_the_sums_and_not_by_the_mean() -> None:
    total = (ngram_tallies("aab", "abb") + ngram_tallies("abcd", "abcd")).astype(float)
    # of 7 characters 6, of 5 pairs 4, of 3 triples 2, and the one of four
    assert chrf(total) == pytest.approx((6 / 7 + 4 / 5 + 2 / 3 + 1) / 4)
    assert chrf(total) != pytest.approx((7 / 18 + 1) / 2)


@pytest.mark.parametrize("text", ["one two", "o", "Größe 東京"])
def test_the_same_text_is_exactly_1(text: str) -> None:
    assert score(f" {text}\n", text) == 1
    assert score("", text) == score("xyz", text) == 0


def test_without_a_reference_there_is_no_figure() -> None:
    assert np.isnan(chrf(np.zeros((3, 6))))


def test_sacrebleu_gives_the_same() -> None:
    """sacreBLEU 2.6.0, nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no, of these two texts together: 28.368142899163978."""
    pairs = [("the cat sat on the mat", "the cat lay on a mat"), ("a dog", "the dog barks")]
    total = sum(ngram_tallies(*pair) for pair in pairs)
    assert isinstance(total, np.ndarray)
    assert 100 * chrf(total.astype(float)) == pytest.approx(28.368142899163978)


def test_many_totals_at_once() -> None:
    growing = np.cumsum([ngram_tallies(*pair) for pair in (("", "abc"), ("abd", "abc"), ("x", "y"))], axis=0).astype(float)
    assert chrf(growing).tolist() == [chrf(one) for one in growing]
