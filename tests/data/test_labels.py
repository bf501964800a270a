"""Labels that contradict one another, or say nothing, are refused."""

from typing import Any

import pytest

from ratchet.components.data.labels import check_variety, consistent_pairs, final_label
from ratchet.components.errors import DataError
from ratchet.components.recipe import Checks
from tests.data.frames import frame


def pair(chosen: str, rejected: str, **values: Any) -> dict[str, Any]:
    return {"shape": "pair", "chosen": chosen, "rejected": rejected, **values}


def test_pairs_that_contradict_one_another_are_refused_by_their_places() -> None:
    rows = frame(pair("x", "y"), pair("y ", "x"), pair("y", "x", prompt="other"))
    with pytest.raises(DataError, match=r"(?s)2 checks failed, in 2 of 3 rows:\s+f, row 1: .*\s+f, row 2: "):
        consistent_pairs(rows, Checks())


def test_up_to_the_threshold_both_sides_go_and_a_problem_keeps_its_answer() -> None:
    rows = frame({"chosen": "x", "rejected": "y"}, pair("y", "x"), *[pair("x", f"z{n}") for n in range(8)])
    kept = consistent_pairs(rows, Checks(max_contradictory_pairs=0.2))
    assert kept["row"].to_list() == [1, *range(3, 11)]
    assert kept.row(0, named=True)["chosen"] is None


@pytest.mark.parametrize("column", ["answer", "chosen", "rejected"])
def test_labels_that_are_all_equal_are_refused(column: str) -> None:
    rows = frame(*[{"answer": f"#### {n}", "chosen": f"c{n}", "rejected": f"r{n}", column: "#### 1"} for n in range(30)])
    with pytest.raises(DataError, match=f"{column} is '1' in 30 of 30 rows"):
        check_variety(rows, Checks())


def test_varied_labels_and_few_rows_pass() -> None:
    check_variety(frame(*[{"answer": f"#### {n % 2}"} for n in range(30)]), Checks())
    check_variety(frame(*[{}] * 19), Checks())


def test_a_label_is_its_final_number_or_the_whole_text() -> None:
    assert (final_label("2 + 3 = 5\n#### 5"), final_label(" Blue ")) == ("5", "Blue")
