"""Both arms become arrays over the same items, and what is missing counts against the challenger."""

from typing import Any

import numpy as np

from ratchet.components.evaluation.comparison import Arms, arms_of, compare
from ratchet.components.records import Arm, Decoding, ItemResult, rows_name

DIGESTS = {"challenger": "c", "incumbent": "i"}


def result(item: str, right: bool, sample: int = 0, **values: Any) -> ItemResult:
    given = {"prompt": item, "completion": "", "length": 5, "finished": True, "kl": None, **values}
    return ItemResult(id=item, passed=right, score=float(right), sample=sample, **given)


def arms(challenger: list[ItemResult], incumbent: list[ItemResult], items: list[str] | None = None, samples: int = 1) -> Arms:
    rows = {rows_name(Arm.CHALLENGER, Decoding.SAMPLED): challenger, rows_name(Arm.INCUMBENT, Decoding.SAMPLED): incumbent}
    return arms_of(items, rows, DIGESTS, samples)


def test_a_missing_item_is_wrong_for_the_challenger_and_right_for_the_incumbent() -> None:
    both = compare(arms([result("a", True)], [result("b", False)], ["a", "b"]), ["accuracy"])
    ours, theirs = both.pair("accuracy")
    assert ours.tolist() == [[1.0], [0.0]]
    assert theirs.tolist() == [[1.0], [0.0]]


def test_a_missing_length_takes_the_extreme_that_was_seen() -> None:
    # Less length is better: the missing challenger has the longest of all, 9; the missing incumbent the shortest, 3.
    both = compare(
        arms([result("a", True, length=9)], [result("b", True, length=3), result("c", True, length=4)], ["a", "b", "c"]),
        ["length"],
    )
    assert [side.ravel().tolist() for side in both.pair("length")] == [[9.0, 9.0, 9.0], [3.0, 3.0, 4.0]]


def test_differences_of_several_samples_name_the_item_of_each() -> None:
    challenger = [result(item, item == "a", sample) for item in "ab" for sample in range(2)]
    incumbent = [result(item, sample == 1, sample) for item in "ab" for sample in range(2)]
    values, clusters = compare(arms(challenger, incumbent, samples=2), ["accuracy"]).differences("accuracy")
    assert values.tolist() == [1.0, 0.0, 0.0, -1.0]
    assert clusters is not None and clusters.tolist() == [0, 0, 1, 1]


def test_an_item_without_all_its_samples_is_missing() -> None:
    few = arms([result("a", True)], [result("a", True, sample) for sample in range(2)], samples=2)
    assert few.missing(Arm.CHALLENGER) == ["a"]
    assert few.missing(Arm.INCUMBENT) == []


def test_a_slice_holds_its_own_items_alone() -> None:
    both = compare(
        arms([result("a", True, slices=["hard"]), result("b", True)], [result("a", False), result("b", True)]), ["accuracy"]
    )
    ours, theirs = both.pair("accuracy", "hard")
    assert (ours.tolist(), theirs.tolist()) == ([[1.0]], [[0.0]])
    assert np.array_equal(both.slices["hard"], [True, False])


def test_a_completion_that_the_gold_could_not_judge_is_missing_from_its_measures_alone() -> None:
    fault = ItemResult("a", "p", "c", None, None, 5, True, None, fault="timeout")
    both = arms([fault, result("b", True)], [result("a", False), result("b", False)])
    assert both.missing(Arm.CHALLENGER, "accuracy") == ["a"]
    assert both.missing(Arm.CHALLENGER, "length") == []
    ours, theirs = compare(both, ["accuracy"]).pair("accuracy")
    assert (ours.tolist(), theirs.tolist()) == ([[0.0], [1.0]], [[0.0], [0.0]])


def test_items_of_one_group_are_one_cluster_of_differences() -> None:
    challenger = [result(item, True, cluster=group) for item, group in (("a", "x"), ("b", "y"), ("c", "x"))]
    incumbent = [result(item, False) for item in "abc"]
    both = compare(arms(challenger, incumbent), ["accuracy"])
    assert both.clusters is not None and both.clusters[0] == both.clusters[2] != both.clusters[1]
    _, clusters = both.differences("accuracy")
    assert clusters is not None and clusters.tolist() == both.clusters.tolist()
