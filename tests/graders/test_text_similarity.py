"""Similarities by hand, and against rouge-score, NLTK and sacreBLEU where these are installed."""

import numpy as np
import pytest

from ratchet.components.graders.text_similarity import gleu, metric_of, rouge_l, rouge_n, rule, words
from ratchet.components.statistics.chrf import chrf

CAT, MAT = "the cat sat on the mat", "the cat lay on a mat"


def test_values_by_hand() -> None:
    # words of both: the, cat, on, mat: 2 * 4 / 12; pairs: "the cat" alone: 2 / 10; common subsequence: the cat on mat
    assert metric_of("rouge_1")(CAT, MAT) == pytest.approx(8 / 12)
    assert metric_of("rouge_2")(CAT, MAT) == pytest.approx(2 / 10)
    assert metric_of("rouge_l")(CAT, MAT) == pytest.approx(8 / 12)
    # grams of 1 to 4 in common 4 + 1, of each text 6 + 5 + 4 + 3
    assert metric_of("gleu")(CAT, MAT) == pytest.approx(5 / 18)
    # abc -> abd: one deleted, one inserted, of 6
    assert metric_of("fuzzy_match")("abc", "abd") == pytest.approx(1 - 2 / 6)


@pytest.mark.parametrize("metric", ["fuzzy_match", "gleu", "rouge_1", "rouge_5", "rouge_l"])
def test_the_same_text_is_1_and_another_0(metric: str) -> None:
    similar = metric_of(metric)
    assert similar("one two three four five", "one two three four five") == 1
    assert similar("xxx", "aaa bbb") == 0
    assert similar("", "aaa") == 0


def test_words_are_of_any_script() -> None:
    assert words("Größe_1: 東京, don't") == ["größe", "1", "東京", "don", "t"]


def test_passed_is_a_threshold_or_nothing() -> None:
    row = {"answer": "abd"}
    assert rule("fuzzy_match", "{{item.answer}}")("abc", row).passed is None
    assert rule("fuzzy_match", "{{item.answer}}", 0.6)("abc", row).passed is True
    assert rule("fuzzy_match", "{{item.answer}}", 0.7)("abc", row).passed is False


@pytest.mark.parametrize("answer", [None, "", "  ", 3])
def test_text_similarity_faults_without_a_reference_nothing_is_judged(answer: object) -> None:
    grade = rule("rouge_l", "{{item.answer}}")("abc", {"answer": answer})
    assert (grade.score, grade.fault) == (None, None)
    assert "the reference" in grade.reason


def test_chrf_passes_at_a_threshold_and_has_the_counts_of_the_text() -> None:
    grade = rule("chrf", "{{item.answer}}", 0.3)("aab", {"answer": "ab b"})
    assert (grade.score, grade.passed) == (pytest.approx(7 / 18), True)  # of 3 characters 2, of 2 pairs 1, of 1 triple none
    assert grade.tallies == [[2, 1, 0, 0, 0, 0], [3, 2, 1, 0, 0, 0], [3, 2, 1, 0, 0, 0]]
    assert rule("chrf", "{{item.answer}}")("anything", {"answer": ""}).tallies is None
    assert rule("gleu", "{{item.answer}}")("aab", {"answer": "ab b"}).tallies is None


def _texts() -> list[tuple[str, str]]:
    draw = np.random.default_rng(5)
    return [tuple(" ".join(draw.choice(list("abcde"), draw.integers(1, 13))) for _ in range(2)) for _ in range(50)]  # type: ignore[misc]


def test_rouge_score_agrees() -> None:
    library = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    scorer = library.RougeScorer(["rouge1", "rouge2", "rouge5", "rougeL"])
    for text, reference in _texts():
        theirs = scorer.score(reference, text)
        for size in (1, 2, 5):
            assert rouge_n(words(text), words(reference), size) == pytest.approx(theirs[f"rouge{size}"].fmeasure)
        assert rouge_l(words(text), words(reference)) == pytest.approx(theirs["rougeL"].fmeasure)


def test_nltk_agrees_on_gleu() -> None:
    library = pytest.importorskip("nltk.translate.gleu_score", reason="NLTK is not installed")
    for text, reference in _texts():
        ours, theirs = words(text), words(reference)
        assert gleu(ours, theirs) == pytest.approx(library.sentence_gleu([theirs], ours))


def test_sacrebleu_agrees_on_chrf_of_a_text_and_of_the_corpus() -> None:
    library = pytest.importorskip("sacrebleu.metrics", reason="sacreBLEU is not installed")
    pairs = _texts()
    grades = [rule("chrf", "{{item.answer}}")(text, {"answer": reference}) for text, reference in pairs]
    for grade, (text, reference) in zip(grades, pairs, strict=True):
        assert grade.score == pytest.approx(library.CHRF().sentence_score(text, [reference]).score / 100)
    total = np.sum([grade.tallies for grade in grades], axis=0).astype(float)
    theirs = library.CHRF().corpus_score([text for text, _ in pairs], [[reference for _, reference in pairs]])
    assert chrf(total) == pytest.approx(theirs.score / 100)
