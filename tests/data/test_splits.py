"""A prompt's table depends on its own hash, or its group's, and on no other row."""

from collections import Counter
from typing import Any

import polars as pl
import pytest

from ratchet.components.data.duplicates import with_ids
from ratchet.components.data.questions import place_of
from ratchet.components.data.schemas import raw_frame
from ratchet.components.data.splits import check_groups, check_tables, split_key, split_of, split_tables, with_tables
from ratchet.components.errors import DataError
from ratchet.components.recipe import Split

SPLIT = Split()


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"file": "f", "answer": "#### 5", "demonstration": "#### 5"}
    raw = raw_frame({**base, "row": number, **row} for number, row in enumerate(rows, 1)).frame
    return with_tables(with_ids(raw), SPLIT)


def prompt_in(table: str) -> str:
    """A prompt whose hash falls into a table."""
    return next(str(n) for n in range(10_000) if split_of(place_of(str(n)), SPLIT) == table)


def sizes(*rows: dict[str, Any]) -> dict[str, int]:
    return {name: len(found) for name, found in split_tables(frame(*rows), SPLIT).tables.items() if len(found)}


PAIR = {"shape": "pair", "chosen": "x", "rejected": "y"}


def test_shares_of_the_prompts_are_those_of_the_recipe() -> None:
    split = Split(dev=0.1, sealed=0.2, sealed_folds=2, guard=0.1, pairs=0.4, pairs_heldout=0.25)
    counts = Counter(split_of(place_of(str(n)), split) for n in range(10_000))
    # pairs 0.4: held out 0.4 * 0.25 = 0.1, train 0.3; sealed 0.2 in two folds of 0.1; what is left over is 0.2.
    shares = {"dev": 0.1, "sealed_0": 0.1, "sealed_1": 0.1, "guard": 0.1, "pairs_heldout": 0.1, "pairs_train": 0.3}
    # sqrt(0.3 * 0.7 / 10000) = 0.0046; 0.02 is more than four of them.
    assert {name: counts[name] / 10_000 for name in [*shares, "train"]} == pytest.approx({**shares, "train": 0.2}, abs=0.02)


def test_a_row_without_a_pair_is_no_preference() -> None:
    tables = split_tables(frame(*[{"prompt": str(n)} for n in range(100)]), SPLIT).tables
    assert tables["pairs_train"].is_empty() and tables["pairs_heldout"].is_empty()
    assert sum(map(len, tables.values())) == 100


def test_a_problem_among_the_pairs_brings_all_preferences_of_its_prompt() -> None:
    prompt = {"prompt": prompt_in("pairs_heldout")}
    assert sizes({**prompt, "chosen": "a", "rejected": "b"}, {**prompt, **PAIR}) == {"pairs_heldout": 2}


def test_preferences_of_a_training_prompt_train_the_reward_too() -> None:
    prompt = {"prompt": prompt_in("train")}
    assert sizes(prompt, {**prompt, **PAIR}, {**prompt, **PAIR, "rejected": "z"}) == {"train": 1, "pairs_train": 2}


@pytest.mark.parametrize("table", ["dev", "guard", "sealed_2"])
def test_preferences_of_an_evaluated_prompt_are_not_used(table: str) -> None:
    prompt = {"prompt": prompt_in(table)}
    found = split_tables(frame(prompt, {**prompt, **PAIR}), SPLIT)
    assert {name: len(rows) for name, rows in found.tables.items() if len(rows)} == {table: 1}
    assert found.unused_pairs == 1


def test_a_preference_without_a_problem_is_a_prompt_too() -> None:
    assert sizes({"prompt": prompt_in("dev"), **PAIR}) == {"dev": 1}


def test_rows_of_a_group_stay_together_and_where_they_were() -> None:
    rows = [{"prompt": str(n), "group": f"g{n % 7}"} for n in range(70)]
    tables = split_tables(frame(*rows), SPLIT).tables
    places = {(row["group"], name) for name, found in tables.items() for row in found.to_dicts()}
    assert places == {(f"g{n}", split_of(split_key("", f"g{n}"), SPLIT).replace("pairs_train", "train")) for n in range(7)}


@pytest.mark.parametrize("same", ["10 MW ", "10 mw", "１０ MW"])  # as it is, in another case, and as it looks
def test_a_prompt_in_two_groups_is_refused_by_its_places(same: str) -> None:
    with pytest.raises(DataError, match=r"(?s)f, row 1: group: .*f, row 3: group: "):
        check_groups(frame({"prompt": "10 MW", "group": "a"}, {"prompt": "r", "group": "a"}, {"prompt": same, "group": None}))


def test_a_prompt_in_two_tables_is_refused_by_its_id() -> None:
    with pytest.raises(DataError, match="two splits: leak"):
        check_tables({"train": pl.DataFrame({"id": ["leak"]}), "dev": pl.DataFrame({"id": ["leak", "fine"]})})


@pytest.mark.parametrize(("one", "other", "fine"), [("train", "pairs_train", True), ("train", "pairs_heldout", False)])
def test_a_prompt_may_train_policy_and_reward_but_not_validate(one: str, other: str, fine: bool) -> None:
    tables = dict.fromkeys((one, other), pl.DataFrame({"id": ["p"]}))
    if fine:
        check_tables(tables)
    else:
        with pytest.raises(DataError, match="two splits: p"):
            check_tables(tables)
