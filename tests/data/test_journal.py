"""Steps are counted with examples, sealed texts are shown nowhere, and values are summarised as they are distributed."""

from typing import Any

import polars as pl
import pytest

from ratchet.components.data.journal import HIDDEN, Journal, answers, spread
from ratchet.components.data.schemas import raw_frame
from ratchet.components.recipe import Split

ALL_TRAIN = Split(dev=0.001, sealed=0.001, sealed_folds=1, guard=0, pairs=0)


def raw(count: int) -> Any:
    texts = {"answer": "#### 5", "demonstration": "#### 5"}
    return raw_frame([{"file": "f", "row": n, "prompt": f"q{n}", **texts} for n in range(1, count + 1)]).frame


def test_the_text_of_a_sealed_item_is_not_an_example() -> None:
    everything = Split(dev=0.001, sealed=0.998, sealed_folds=1, guard=0, pairs=0)
    frame = raw_frame([{"file": "f", "row": 1, "prompt": "q", "answer": "#### 5", "demonstration": "#### 5"}]).frame
    journal = Journal(everything, 1)
    journal.drop("step", "title", frame, frame.clear(), "why")
    assert journal.steps[0]["examples"] == [{"file": "f", "row": 1, "text": HIDDEN, "why": "why"}]


def test_a_histogram_holds_every_value() -> None:
    figures = spread([3, 4, 4, 9])
    assert (figures["mean"], figures["least"], figures["most"], figures["count"]) == (5.0, 3, 9, 4)
    assert figures["edges"] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert figures["counts"] == [1, 2, 0, 0, 0, 0, 1]


def test_long_ranges_are_drawn_in_few_bins() -> None:
    figures = spread(list(range(1, 100_001)))
    assert len(figures["counts"]) == 40
    assert sum(figures["counts"]) == 100_000


def test_the_most_frequent_answers_come_first() -> None:
    assert answers(pl.Series(["#### 5", "#### 6", "so\n#### 6"])) == {"count": 3, "distinct": 2, "top": [["6", 2], ["5", 1]]}


@pytest.mark.parametrize(("dropped", "warned"), [(10, False), (11, True)])
def test_a_step_that_drops_more_than_a_tenth_warns_with_its_remedy(dropped: int, warned: bool) -> None:
    journal, frame = Journal(ALL_TRAIN, 100), raw(100)
    journal.drop("too_long", "longer than max_prompt_chars", frame, frame[dropped:], "why")
    assert journal.dropped() == {"too_long": dropped}
    assert [warning.startswith(f"longer than max_prompt_chars: {dropped} of 100 rows") for warning in journal.warnings] == [
        True
    ] * warned
    assert bool(journal.taken()) is warned
    assert [example["row"] for example in journal.steps[0]["examples"]] == [1, 2, 3, 4, 5]
