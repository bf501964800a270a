"""Measures of all items together, from the results of a gold of labels."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, compare
from ratchet.components.evaluation.corpus import corpus_interval
from ratchet.components.evaluation.labels import arms_tallies, confusion_of, item_tallies
from ratchet.components.evaluation.measures import summarise
from tests.evaluation.labels import answered, arm

EXPECTED, ANSWERS = "aaabbc", "aabb.a"


def compared(ours: str, theirs: str, expected: str = EXPECTED) -> Arms:
    return Arms([str(n) for n in range(len(expected))], arm(expected, ours), arm(expected, theirs), "c" * 64, "i" * 64)


def test_a_summary_has_the_measures_of_all_items_by_hand() -> None:
    figures = summarise([r for group in arm(EXPECTED, ANSWERS).values() for r in group])
    assert figures["macro_f1"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["balanced_accuracy"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures["mcc"].value == pytest.approx(5 / 22)
    assert figures["macro_f1"].n == 6
    assert figures["macro_f1"].low < figures["macro_f1"].value < figures["macro_f1"].high


def test_a_gold_without_labels_has_no_such_measure() -> None:
    results = [replace(r, expected=None) for group in arm(EXPECTED, ANSWERS).values() for r in group]
    assert not {"macro_f1", "mcc", "balanced_accuracy"} & summarise(results).keys()


def test_every_sample_adds_to_its_items_tallies() -> None:
    found = item_tallies([answered("a", ["a", "b"]), answered("b", ["b", None])])
    assert found.tolist() == [[[1, 0], [2, 0], [1, 1]], [[0, 1], [0, 2], [0, 1]]]


def test_the_interval_of_a_balanced_set_is_nearly_that_of_the_accuracy() -> None:
    rng = np.random.default_rng(0)
    expected = ["a", "b"] * 200
    groups = [answered(e, [e if rng.random() < 0.8 else "ab"[e == "a"]], str(n)) for n, e in enumerate(expected)]
    found, accuracy = (summarise([r for g in groups for r in g])[name] for name in ("balanced_accuracy", "accuracy"))
    assert found.value == pytest.approx(accuracy.value)
    assert found.error == pytest.approx(accuracy.error, rel=0.02)


def test_items_of_one_group_of_the_data_widen_the_interval() -> None:
    contributions = item_tallies([answered("ab"[n % 2], ["ab"[n % 2 if n % 8 < 6 else 0]], str(n)) for n in range(80)])
    alone, tied = (corpus_interval("macro_f1", contributions, clusters) for clusters in (None, np.arange(80) % 8))
    assert alone.value == tied.value
    assert tied.error > 1.5 * alone.error


def test_one_item_has_no_interval() -> None:
    only = corpus_interval("macro_f1", item_tallies([answered("a", ["a"])]))
    assert only.value == 1
    assert math.isnan(only.error)


def test_a_missing_item_is_wrong_for_the_challenger_and_right_for_the_incumbent() -> None:
    ours, theirs = arms_tallies([(), answered("b", ["b"])], [answered("a", ["a"]), ()], 1)
    assert ours.tolist() == [[[0, 0], [1, 0], [0, 1]], [[0, 1], [0, 1], [0, 1]]]
    assert theirs.tolist() == [[[1, 0], [1, 0], [1, 0]], [[0, 1], [0, 1], [0, 1]]]


def test_missing_faults_leaving_wrong_items_out_does_not_raise_a_measure() -> None:
    # 90 a and 10 b; ten of the a are called b. F1 of a: 2 80 / (90 + 80), of b: 2 10 / (10 + 20)
    groups = [answered("a", ["b" if n < 10 else "a"]) for n in range(90)] + [answered("b", ["b"])] * 10
    dropped, whole = arms_tallies([()] * 10 + groups[10:], groups, 1)
    for counts in (dropped, whole):
        assert corpus_interval("macro_f1", counts).value == pytest.approx((160 / 170 + 20 / 30) / 2)


def test_missing_faults_the_wrong_label_is_the_one_that_costs_most() -> None:
    groups = [answered(label, [named]) for label, named in zip("aabbcd", "aabbbd", strict=True)]
    ours, _ = arms_tallies([(), *groups[1:]], groups, 1)
    # one more: b 2/5 - 2/6, c 0 - 0 (no c is found, it would be free), d 1/2 - 1/3
    assert ours[0].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_missing_faults_a_set_of_one_label_has_no_wrong_one() -> None:
    ours, _ = arms_tallies([(), answered("a", ["a"])], [answered("a", ["a"])] * 2, 1)
    assert ours.sum(axis=0).tolist() == [[1], [2], [1]]


def test_an_item_that_both_arms_lack_is_a_loss_in_a_class_of_its_own() -> None:
    ours, theirs = arms_tallies([(), answered("b", ["b"])], [(), answered("b", ["b"])], 1)
    assert ours.sum(axis=0).tolist() == [[0, 1], [1, 1], [0, 2]]
    assert theirs.sum(axis=0).tolist() == [[1, 1], [1, 1], [1, 1]]


def test_figures_of_both_arms_and_of_a_slice() -> None:
    arms = compared(ANSWERS, "aaabbc")
    marked = {k: [replace(r[0], slices=["first"] if int(k) < 4 else [])] for k, r in arms.challenger.items()}
    found = compare(replace(arms, challenger=marked), ["macro_f1"])
    assert found.figures("macro_f1") == pytest.approx(((2 / 3 + 1 / 2 + 0) / 3, 1.0))
    # a a a b against a a b b: F1 of 2*2/5 and 2*1/3
    assert found.figures("macro_f1", "first") == pytest.approx(((4 / 5 + 2 / 3) / 2, 1.0))
    assert [len(one) for one in found.pair("macro_f1", "first")] == [4, 4]


def test_labels_that_only_one_arm_names_count_for_both() -> None:
    ours, theirs = compare(compared("aaabbd", ANSWERS), ["mcc"]).tallied()
    assert ours.shape == theirs.shape == (6, 3, 4)


def test_the_confusion_matrix_has_every_label_of_the_set_and_leaves_out_what_was_not_judged() -> None:
    results = [r for group in arm(EXPECTED, ANSWERS).values() for r in group]
    unjudged = replace(results[0], id="x", expected=None, score=None)
    assert confusion_of([*results, unjudged], ["c", "b", "a", "z"]) == {
        "labels": ["c", "b", "a", "z"],
        "counts": [[0, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 1, 2, 0, 0], [0, 0, 0, 0, 0]],
    }
