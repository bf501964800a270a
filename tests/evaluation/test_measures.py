"""From results to figures, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ratchet.components.evaluation.measures import (
    clusters_of,
    column,
    distinct_bigrams,
    flat,
    majority,
    measures_of,
    pass_at,
    sliced_summaries,
    summarise,
)
from ratchet.components.recipe import headline
from ratchet.components.records import ItemResult

PARTS = {"accuracy_lenient": 0.0, "format_rate": 1.0}
ONE = ItemResult("a", "p", "#### 3", passed=True, score=1.0, length=5, finished=True, kl=2.0, answer="3", parts=PARTS)


def samples(*answers: str | None, item: str = "a", right: str = "3") -> list[ItemResult]:
    """Samples of an item whose answer is ``right``."""
    right_ones = [answer == right for answer in answers]
    return [
        replace(ONE, id=item, sample=n, answer=answer, passed=good, score=float(good))
        for n, (answer, good) in enumerate(zip(answers, right_ones, strict=True))
    ]


def test_a_summary_by_hand() -> None:
    results = [
        ONE,
        replace(ONE, id="b", passed=False, score=0.0, length=7, kl=4.0),
        replace(ONE, id="c", passed=False, score=0.0, parts={**PARTS, "format_rate": 0.0}, length=9, kl=6.0),
    ]
    summary = summarise(results)
    assert summary["accuracy"].value == pytest.approx(1 / 3)
    assert summary["accuracy"].error == pytest.approx(math.sqrt(2) / 3 / math.sqrt(3))
    assert summary["format_rate"].value == pytest.approx(2 / 3)
    # mean 7, deviation 2: t(0.975, 2) = 4.302653: 7 - 4.302653 x 2 / sqrt(3)
    assert summary["length"] == pytest.approx((7.0, 2.031725, 11.968275, 3, 2 / math.sqrt(3)))
    assert summary["kl"].value == 4


def test_a_measure_with_a_gap_is_not_shown() -> None:
    names = measures_of([[replace(ONE, kl=None)], [replace(ONE, kl_incumbent=1.0)]])
    assert "kl" not in names
    assert "kl_incumbent" not in names
    assert "reward" not in names


def test_what_a_library_does_not_measure_is_absent_and_not_zero() -> None:
    written = replace(ONE, parts={}, kl=None, answer=None)
    assert list(summarise([written, replace(written, id="b")])) == ["accuracy", "length", "diversity"]
    compared = replace(written, completion="", length=None, finished=None)
    assert list(summarise([compared, replace(compared, id="b")])) == ["accuracy"]
    assert math.isnan(column("maj@1", [[written]])[0, 0])


def test_rewards_are_shown_by_part_where_all_could_be_judged() -> None:
    judged = replace(ONE, rewards={"reward": 1.0, "reward/verifier": 1.0})
    assert {"reward", "reward/verifier"} <= set(summarise([judged, replace(judged, id="b")]))
    assert "reward" not in summarise([judged, replace(judged, id="b", rewards={"reward": None, "reward/verifier": 0.0})])


def test_the_error_of_several_samples_is_clustered_by_item() -> None:
    agreeing = [r for n in range(6) for r in samples(*["3" if n % 2 else "4"] * 4, item=str(n))]
    # six items that are 0 or 1: sqrt(6/5 x 6 x (1/2)^2) / 6, as if there were one sample each
    assert summarise(agreeing)["accuracy"].error == pytest.approx(math.sqrt(1.8) / 6)
    assert summarise(agreeing)["accuracy"].n == 24


@pytest.mark.parametrize(
    ("k", "n", "correct", "expected"),
    [(1, 4, 1, 0.25), (2, 4, 1, 0.5), (2, 4, 2, 5 / 6), (4, 4, 1, 1.0), (2, 4, 0, 0.0), (3, 4, 2, 1.0)],
)
def test_pass_at_k_by_hand(k: int, n: int, correct: int, expected: float) -> None:
    assert pass_at(k, n, correct) == pytest.approx(expected)  # 5/6: one of six pairs is all wrong


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("3", "4", "3"), 1.0),
        (("4", "3", "4"), 0.0),
        (("4", "3"), 0.0),  # of equals the earliest
        ((None, None, "3"), 1.0),  # no answer, no vote
        ((None, None), 0.0),
    ],
)
def test_the_majority_by_hand(answers: tuple[str | None, ...], expected: float) -> None:
    assert majority(samples(*answers)) == expected


def test_distinct_pairs_of_words_by_hand() -> None:
    assert distinct_bigrams(["a b a b"]) == pytest.approx(2 / 3)  # ab, ba, ab
    assert distinct_bigrams(["a b", "a b"]) == 0.5
    assert distinct_bigrams(["a", ""]) == 0


def test_columns_are_items_by_samples() -> None:
    groups = [samples("3", "4", "4", "4"), samples("3", "3", "4", "3", item="b")]
    assert column("accuracy", groups).tolist() == [[1, 0, 0, 0], [1, 1, 0, 1]]
    assert column("pass@2", groups) == pytest.approx(np.array([[0.5], [1.0]]))
    assert column("maj@4", groups).tolist() == [[0], [1]]
    assert column("maj@1", groups).tolist() == [[1], [1]]
    assert np.isnan(column("reward/none", groups)).all()
    assert column("accuracy", []).shape == (0, 1)


def test_values_know_their_item() -> None:
    values, clusters = flat(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert values.tolist() == [1, 0, 0, 0]
    assert clusters is not None
    assert clusters.tolist() == [0, 0, 1, 1]
    assert flat(np.array([[1.0], [0.0]]))[1] is None


def test_a_slice_is_summarised_by_itself() -> None:
    results = [replace(ONE, slices=["hard"], passed=False, score=0.0), replace(ONE, id="b")]
    assert sliced_summaries(results, ["hard"])["hard"]["accuracy"].value == 0
    assert sliced_summaries(results, ["none"])["none"]["accuracy"].n == 0


def test_a_bounded_gold_is_a_measure_of_its_own_and_the_headline() -> None:
    results = [replace(ONE, score=0.25, passed=False), replace(ONE, id="b", score=1.0)]
    figures = summarise(results)
    assert (figures["gold"].value, figures["accuracy"].value, headline(figures)) == (0.625, 0.5, "gold")
    assert headline(summarise([ONE])) == "accuracy"


def test_without_right_or_wrong_there_is_no_accuracy() -> None:
    results = [replace(ONE, score=0.25, passed=None), replace(ONE, id="b", score=0.75, passed=None)]
    assert "accuracy" not in summarise(results)
    assert summarise(results)["gold"].value == 0.5


def test_faults_of_the_gold_are_left_out_of_a_summary() -> None:
    figures = summarise([ONE, replace(ONE, id="b", passed=None, score=None, fault="timeout")])
    assert (figures["accuracy"].value, figures["accuracy"].n) == (1.0, 1)


def test_parts_and_other_graders_are_measures() -> None:
    result = replace(ONE, parts={**PARTS, "f1": 0.5}, grades={"short": 0.25})
    assert column("gold/f1", [[result]]).tolist() == [[0.5]]
    assert column("grader/short", [[result]]).tolist() == [[0.25]]
    assert {"gold/f1", "grader/short"} <= summarise([result]).keys()


def test_items_of_one_group_are_one_cluster() -> None:
    groups = [[replace(ONE, cluster="x")], [replace(ONE, cluster="y")], [replace(ONE, cluster="x")], [ONE], []]
    clusters = clusters_of(groups)
    assert clusters is not None
    assert clusters[0] == clusters[2]
    assert len(set(clusters.tolist())) == 4
    assert clusters_of([[ONE], [ONE]]) is None


def test_a_groups_items_widen_the_interval() -> None:
    alone = [replace(ONE, id=str(n), passed=n < 20, score=float(n < 20)) for n in range(40)]
    tied = [replace(r, cluster=str(int(r.id) // 10)) for r in alone]
    narrow, wide = (summarise(results)["accuracy"] for results in (alone, tied))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)  # four clusters, all right or all wrong


def test_faults_a_part_whose_name_is_no_measure_is_left_out() -> None:
    result = replace(ONE, parts={**PARTS, "line items": 0.5}, rewards={"reward": 1.0, "reward/one two": 1.0})
    assert {"reward", "accuracy"} <= summarise([result]).keys()
    assert not {"gold/line items", "reward/one two"} & summarise([result]).keys()
