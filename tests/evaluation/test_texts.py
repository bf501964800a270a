"""chrF of all items together, from the results of a gold of chrF. Tallies are looked at by character and by pair."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, compare
from ratchet.components.evaluation.measures import summarise
from ratchet.components.evaluation.texts import arms_tallies, item_tallies
from ratchet.components.records import ItemResult
from ratchet.components.statistics.chrf import chrf
from ratchet.components.statistics.intervals import Floats
from tests.evaluation.texts import written

AAB, SAME = written("abb", ["aab"], "0"), written("abcd", ["abcd"], "1")
CORPUS = (6 / 7 + 4 / 5 + 2 / 3 + 1) / 4  # of 7 characters 6, of 5 pairs 4, of 3 triples 2, and the one of four


def short(tallies: Floats) -> list[list[list[float]]]:
    """By character and by pair alone."""
    return tallies[:, :, :2].tolist()  # type: ignore[no-any-return]


def test_a_summary_has_chrf_of_the_corpus_beside_the_mean_of_single_texts() -> None:
    figures = summarise([*AAB, *SAME])
    assert figures["chrf"].value == pytest.approx(CORPUS)
    assert figures["chrf"].n == 2
    assert figures["chrf"].low < figures["chrf"].value < figures["chrf"].high
    assert figures["gold"].value == pytest.approx((7 / 18 + 1) / 2)


def test_a_gold_without_tallies_has_no_such_measure() -> None:
    assert "chrf" not in summarise([replace(r, tallies=None) for r in (*AAB, *SAME)])


def test_a_stored_row_keeps_its_tallies() -> None:
    assert ItemResult.from_json(asdict(AAB[0])) == AAB[0]


def test_every_sample_adds_to_its_items_tallies() -> None:
    found = item_tallies([written("ab", ["ab", "b"]), written("c", ["c", ""])])
    assert short(found) == [[[3, 1], [4, 2], [3, 1]], [[1, 0], [2, 0], [1, 0]]]


def test_a_missing_item_shares_nothing_and_is_long_for_the_challenger_and_the_reference_for_the_incumbent() -> None:
    ours, theirs = arms_tallies([(), written("cd", ["cdefg"])], [written("ab", ["a"]), ()], 1)
    assert short(ours) == [[[0, 0], [2, 1], [5, 4]], [[2, 1], [2, 1], [5, 4]]]
    assert short(theirs) == [[[1, 0], [2, 1], [1, 0]], [[2, 1], [2, 1], [2, 1]]]


def test_missing_faults_of_a_reference_that_no_arm_has_it_is_the_longest() -> None:
    ours, theirs = arms_tallies([(), written("abc", ["ab"] * 2)], [(), written("abc", ["abcd"] * 2)], 2)
    assert short(ours)[0] == [[0, 0], [6, 4], [8, 6]]
    assert short(theirs)[0] == [[6, 4], [6, 4], [6, 4]]
    assert (short(ours)[1], short(theirs)[1]) == ([[4, 2], [6, 4], [4, 2]], [[6, 4], [6, 4], [8, 6]])  # of two samples each


@pytest.mark.parametrize("text", ["zz", "", "abcabcabc"])
def test_missing_faults_leaving_a_bad_text_out_does_not_raise_the_measure(text: str) -> None:
    groups: list[Sequence[ItemResult]] = [written("abc", [text]), *[written("abcd", ["abce"])] * 5]
    (dropped, _), (whole, _) = (arms_tallies(ours, groups, 1) for ours in ([(), *groups[1:]], groups))
    assert chrf(dropped.sum(axis=0)) <= chrf(whole.sum(axis=0))


def test_results_without_tallies_have_no_figure() -> None:
    bare = [replace(AAB[0], tallies=None)]
    ours, theirs = arms_tallies([bare], [bare], 1)
    assert np.isnan([chrf(ours.sum(axis=0)), chrf(theirs.sum(axis=0))]).all()


def test_figures_of_both_arms_and_of_a_slice() -> None:
    marked = {"0": [replace(AAB[0], slices=["first"])], "1": SAME}
    perfect = {"0": written("abb", ["abb"], "0"), "1": SAME}
    found = compare(Arms(["0", "1"], marked, perfect, "c" * 64, "i" * 64), ["chrf"])
    assert found.figures("chrf") == pytest.approx((CORPUS, 1.0))
    assert found.figures("chrf", "first") == pytest.approx((7 / 18, 1.0))
    assert [len(one) for one in found.pair("chrf", "first")] == [1, 1]
