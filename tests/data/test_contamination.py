"""Training rows that share words with evaluated ones are found, and dropped or refused."""

import pytest

from ratchet.components.data.contamination import overlaps, refuse, without
from ratchet.components.errors import DataError
from ratchet.components.recipe import Decontaminate

SHARED = "one two three four five six seven eight"
TABLES = {
    "train": [{"id": "t1", "prompt": f"Now {SHARED} nine"}, {"id": "t2", "prompt": "one two three four five six seven"}],
    "pairs_train": [{"id": "p1", "prompt": f"{SHARED.upper()}!"}],
    "dev": [{"id": "d1", "prompt": f"{SHARED} again"}],
    "sealed_0": [{"id": "s1", "prompt": "nothing of it"}],
}


def test_training_rows_that_share_eight_words_with_evaluated_rows_are_found() -> None:
    found = overlaps(TABLES, {}, Decontaminate())
    assert [(one.id, one.table, one.other, one.words) for one in found] == [
        ("t1", "train", "dev", SHARED),
        ("p1", "pairs_train", "dev", SHARED),
    ]
    assert {name: len(rows) for name, rows in without(TABLES, found).items()} == {
        **{"train": 1, "pairs_train": 0, "dev": 1, "sealed_0": 1}
    }


def test_a_benchmark_file_counts_as_evaluated() -> None:
    found = overlaps(TABLES, {"bench.jsonl": ["One two three four five six seven."]}, Decontaminate())
    assert [(one.id, one.other) for one in found if one.other != "dev"] == [("t2", "bench.jsonl")]


def test_overlap_can_be_refused_with_its_ids() -> None:
    rule = Decontaminate(policy="refuse")
    with pytest.raises(DataError, match=r"(?s)2 training prompts.*t1 of train shares 8 words with dev.*p1 of pairs_train"):
        refuse(overlaps(TABLES, {}, rule), rule)
