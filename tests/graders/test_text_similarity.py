"""Similarities by hand, and against rouge-score and NLTK where these are installed."""

import numpy as np
import pytest

from ratchet.components.graders.text_similarity import gleu, metric_of, rouge_l, rouge_n, rule, words

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
