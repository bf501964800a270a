"""Training rows that share words with evaluated ones are found, and dropped or refused."""

import polars as pl
import pytest

from ratchet.components.data.contamination import overlaps, refuse, without
from ratchet.components.errors import DataError
from ratchet.components.recipe import Decontaminate

SHARED = "one two three four five six seven eight"
ROWS = {
    "train": [{"id": "t1", "prompt": f"Now {SHARED} nine"}, {"id": "t2", "prompt": "one two three four five six seven"}],
    "pairs_train": [{"id": "p1", "prompt": f"{SHARED.upper()}!"}],
    "dev": [{"id": "d1", "prompt": f"{SHARED} again"}],
    "sealed_0": [{"id": "s1", "prompt": "nothing of it"}],
}
TABLES = {name: pl.DataFrame(rows) for name, rows in ROWS.items()}


def test_training_rows_that_share_eight_words_with_evaluated_rows_are_found() -> None:
    found = overlaps(TABLES, {}, Decontaminate())
    assert [(one.id, one.table, one.other, one.words) for one in found] == [
        ("t1", "train", "dev", SHARED),
        ("p1", "pairs_train", "dev", SHARED),
    ]
    assert {name: rows.height for name, rows in without(TABLES, found).items()} == {
        **{"train": 1, "pairs_train": 0, "dev": 1, "sealed_0": 1}
    }


def test_a_benchmark_file_counts_as_evaluated() -> None:
    found = overlaps(TABLES, {"bench.jsonl": ["One two three four five six seven."]}, Decontaminate())
    assert [(one.id, one.other) for one in found if one.other != "dev"] == [("t2", "bench.jsonl")]


def test_overlap_can_be_refused_with_its_ids() -> None:
    rule = Decontaminate(policy="refuse")
    with pytest.raises(DataError, match=r"(?s)2 training prompts.*t1 of train shares 8 words with dev.*p1 of pairs_train"):
        refuse(overlaps(TABLES, {}, rule), rule)


def shared(train: str, dev: str, words: int = 2) -> list[str]:
    """The words by which a training prompt overlaps an evaluated one."""
    tables = {name: pl.DataFrame({"id": [name], "prompt": [prompt]}) for name, prompt in (("train", train), ("dev", dev))}
    return [one.words for one in overlaps(tables, {}, Decontaminate(words=words))]


@pytest.mark.parametrize(
    ("train", "dev", "words"),
    [
        ("Tom has two", "why tom has", ["tom has"]),
        ("NASA FLIES", "nasa flies", ["nasa flies"]),  # all capitals: known as they are
        ("a NASA FLIES", "nasa flies now", ["nasa flies"]),
        ("use MW here", "use mW here", []),  # capitals within words count
        ("use MW", "use mw", []),
        ("2 = 3", "x 2 = y", ["2 ="]),
        ("why", "why", ["why"]),  # the whole prompt, which is shorter
        ("why", "why not", []),
    ],
)
def test_capitals_count_within_words_and_short_prompts_as_a_whole(train: str, dev: str, words: list[str]) -> None:
    assert shared(train, dev) == words


def test_the_first_table_with_the_words_is_named() -> None:
    tables = {name: pl.DataFrame({"id": [name], "prompt": [SHARED]}) for name in ("sealed_0", "train", "dev")}
    assert [one.other for one in overlaps(tables, {"b": [SHARED]}, Decontaminate())] == ["sealed_0"]
