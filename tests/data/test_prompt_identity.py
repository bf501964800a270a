"""Texts that a reader tells apart are two, and one prompt has one reference."""

import json
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from ratchet.components.data.normal_form import normalise
from ratchet.components.data.prepare import Prepared, prepare
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data

DIFFERENT = [
    ("12²", "122"),
    ("PARIS", "paris"),
    ("m²", "m2"),
    ("MW", "mW"),
    ("one\ntwo", "one two"),
    ("a\n\nb", "a\nb"),
    ("½", "1/2"),
]
DIFFERENT += [("if a:\n  b\nc", "if a:\n  b\n  c"), ("Straße", "Strasse"), ("①", "1"), ("ﬁ", "fi"), ("x₂", "x2"), ("２", "2")]
EQUAL = [
    ("caf\u00e9", "cafe\u0301"),
    ("a  b", "a b"),
    ("a\u00a0b", "a b"),
    ("a\r\nb", "a\nb"),
    ("a \nb", "a\nb"),
    (" a\n", "a"),
]
LOOK_ALIKE = [("2²", "22"), ("2 MW", "2 mW"), ("2 + 3", "2 - 3"), ("-5", "5"), ("2 < 3", "2 > 3"), ("H₂O", "H2O")]


def prepared(folder: Path, rows: list[dict[str, Any]], **checks: Any) -> Prepared:
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "data").mkdir()
    return prepare(Data.model_validate({"source": str(folder / "rows.jsonl"), "checks": checks}), folder / "data")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_a_reader_tells_apart_is_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_no_reader_tells_apart_is_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize("spaces", [" ", "\t", "\u00a0"])
def test_no_text_takes_long(spaces: str) -> None:
    start = process_time()
    assert normalise(f"a\n{spaces * 2**17}b \n") == f"a\n{spaces * 2**17}b"
    assert process_time() - start < 5


@pytest.mark.parametrize(("one", "other"), LOOK_ALIKE)
def test_problems_that_look_alike_are_all_kept(tmp_path: Path, one: str, other: str) -> None:
    asked = [f"Case {n}: what is {text}?" for n in range(150) for text in (one, other)]
    summary = prepared(tmp_path, [{"question": text, "answer": f"#### {n}"} for n, text in enumerate(asked)]).summary
    assert summary["dropped"] == {"too_long": 0, "duplicates": 0}
    assert sum(summary["rows"].values()) == 300


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_a_pair_does_not_contradict_itself(tmp_path: Path, one: str, other: str) -> None:
    rows = [{"prompt": f"Write it so, number {n}.", "chosen": f"{n}: {one}", "rejected": f"{n}: {other}"} for n in range(150)]
    summary = prepared(tmp_path, rows, answers="optional").summary
    assert (summary["dropped"], summary["raw_rows"]) == (
        {"too_long": 0, "duplicates": 0, "unused_pairs": summary["dropped"]["unused_pairs"]},
        150,
    )


def test_a_contradiction_takes_two_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"Number {n}?", "chosen": f"a  b {n}", "rejected": f"a b {n}"} for n in range(150)]
    assert "contradictory_pairs" not in prepared(tmp_path / "one", rows, answers="optional").summary["dropped"]
    turned = {**rows[0], "chosen": "y", "rejected": "x"}
    with pytest.raises(DataError, match=r"(?s)2 checks failed, in 2 of 152 rows:.*row 151: chosen.*row 152: chosen"):
        prepared(tmp_path / "two", [*rows, {**turned, "chosen": "x", "rejected": "y"}, turned], answers="optional")


ROWS = [{"question": f"Number {n}?", "answer": f"#### {n}"} for n in range(200)]


def test_two_references_of_one_prompt_are_listed(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"(?s)2 checks failed, in 2 of 201 rows:\n  \S+, row 8: answer: .*\n  \S+, row 201: answer: "
    ):
        prepared(tmp_path, [*ROWS, {"question": "Number 7? ", "answer": "#### 8"}])


def test_two_references_of_one_prompt_are_both_dropped_and_counted_where_that_is_allowed(tmp_path: Path) -> None:
    done = prepared(tmp_path, [*ROWS, {"question": "Number 7?", "answer": "#### 8"}], max_bad_rows=0.05)
    assert done.summary["dropped"]["contradictory_answers"] == 2
    (step,) = [step for step in done.facts["steps"] if step["name"] == "contradictory_answers"]
    assert [example["row"] for example in step["examples"]] == [8, 201]
    assert sum(done.summary["rows"].values()) == 199


@pytest.mark.parametrize(("answers", "again"), [("number", "7 * 1 = 7.0\n#### 7.0"), ("text", "#### 7"), ("text", " #### 7\n")])
def test_the_same_reference_again_is_a_duplicate(tmp_path: Path, answers: str, again: str) -> None:
    summary = prepared(tmp_path, [*ROWS, {"question": "Number 7?", "answer": again}], answers=answers).summary
    assert summary["dropped"] == {"too_long": 0, "duplicates": 1}


def test_texts_are_references_and_demonstrations_are_not(tmp_path: Path) -> None:
    rows = [{"question": f"Town {n}?", "answer": f"Name {n}"} for n in range(200)]
    with pytest.raises(DataError, match=r"row 8: answer: another row has a different reference"):
        prepared(tmp_path / "one", [*rows, {"question": "Town 7?", "answer": "name 7"}], answers="text")
    shown = [{"prompt": f"Town {n}?", "completion": f"Name {n}"} for n in range(200)]
    summary = prepared(tmp_path / "two", [*shown, {"prompt": "Town 7?", "completion": "It is Name 7."}], answers="text").summary
    assert summary["dropped"] == {"too_long": 0, "duplicates": 1}
