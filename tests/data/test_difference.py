"""A difference names every prompt that came, went or changed, and how far distributions moved."""

from typing import Any

import pytest

from ratchet.components.data.difference import SEALED, answers_moved, changes, difference, distance


def row(identity: str, **values: Any) -> dict[str, Any]:
    return {"id": identity, "prompt": f"prompt {identity}", "answer": "#### 5", "demonstration": "#### 5", **values}


def pair(identity: str, rejected: str) -> dict[str, Any]:
    return {"id": identity, "prompt": f"prompt {identity}", "answer": "#### 5", "chosen": "#### 5", "rejected": rejected}


def words(texts: Any) -> list[int]:
    return [len(text.split()) for text in texts]


def found(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(c.what, c.kind, c.id, c.before, c.after, c.columns) for c in changes(old, new)]


def test_rows_that_came_went_and_changed_are_named_with_their_table() -> None:
    old = {"train": [row("a"), row("b"), row("c")], "dev": [row("d")]}
    new = {"train": [row("a"), row("b", answer="#### 6")], "dev": [row("d"), row("e")]}
    assert found(old, new) == [
        ("came", "problem", "e", None, "dev", ()),
        ("went", "problem", "c", "train", None, ()),
        ("changed", "problem", "b", "train", "train", ("answer",)),
    ]


def test_a_prompt_that_moved_to_another_table_changed() -> None:
    assert found({"train": [row("a")]}, {"dev": [row("a")]}) == [("changed", "problem", "a", "train", "dev", ("table",))]


def test_one_more_preference_of_a_prompt_is_a_change_of_its_rows() -> None:
    old = {"pairs_train": [pair("a", "x"), pair("b", "x")]}
    new = {"pairs_train": [pair("a", "y"), pair("a", "x"), pair("b", "z")]}
    assert found(old, new) == [
        ("changed", "pairs", "a", "pairs_train", "pairs_train", ("rows",)),
        ("changed", "pairs", "b", "pairs_train", "pairs_train", ("rejected",)),
    ]


def test_the_order_of_rows_is_no_difference() -> None:
    assert found({"train": [row("a"), row("b")]}, {"train": [row("b"), row("a")]}) == []


def test_the_prompt_of_a_sealed_item_is_not_shown() -> None:
    shown = {change.id: change.prompt for change in changes({"dev": [row("a")]}, {"sealed_0": [row("b")], "dev": []})}
    assert shown == {"a": "prompt a", "b": SEALED}


def test_sizes_lengths_and_answers_are_compared() -> None:
    old, new = (
        {"train": [row("a"), row("b")]},
        {"train": [row("a")], "dev": [row("c", prompt="one two three", answer="#### 7")]},
    )
    moved = difference(old, new, words)
    assert moved["counts"]["problem"] == {"came": 1, "went": 1, "changed": 0}
    assert moved["splits"] == [{"table": "dev", "before": 0, "after": 1}, {"table": "train", "before": 2, "after": 1}]
    (prompt,) = [row for row in moved["lengths"] if row["column"] == "prompt"]
    # Two words twice, then two and three: half of the new ones are longer than two.
    assert (prompt["before"]["mean"], prompt["after"]["mean"], prompt["distance"]) == (2.0, 2.5, 0.5)
    assert moved["answers"]["moved"] == [{"answer": "5", "before": 2, "after": 1}, {"answer": "7", "before": 0, "after": 1}]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [([1, 2], [2, 1], 0.0), ([1], [2], 1.0), ([1, 2, 3, 4], [3, 4, 5, 6], 0.5), ([1, 1, 1, 9], [1, 9, 9, 9], 0.5)],
)
def test_the_distance_is_the_largest_gap_of_the_shares(before: list[int], after: list[int], expected: float) -> None:
    assert distance(before, after) == pytest.approx(expected)


def test_answers_are_compared_by_share() -> None:
    # 5 falls from 2/2 to 1/4, 6 rises from 0 to 3/4: half of 3/4 + 3/4.
    assert answers_moved(["#### 5"] * 2, ["#### 5", *["#### 6"] * 3])["distance"] == 0.75
