"""A source yields raw rows with their place, or names the file and line that is no row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.data.sources import parse_json_lines, read_rows
from components.errors import DataError
from components.recipe import Data, JsonLines, WordProblems

ROW = {"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
Source = Callable[..., Data]


def final(text: str) -> int:
    return int(text.rpartition("#### ")[2])


def test_a_line_becomes_a_row_with_its_file_and_number(source: Source, tmp_path: Path) -> None:
    first, second = read_rows(source(ROW, {**ROW, "question": "3 + 3?"}))
    assert (first["file"], first["row"], first["question"]) == (str(tmp_path / "source.jsonl"), 1, "2 + 3?")
    assert second["row"] == 2


def test_the_answer_is_the_demonstration_where_there_is_no_other(source: Source) -> None:
    plain, own = read_rows(source(ROW, {**ROW, "demonstration": "5, I think\n#### 5"}))
    assert plain["demonstration"] == ROW["answer"]
    assert own["demonstration"] == "5, I think\n#### 5"


def test_columns_can_have_other_names(source: Source) -> None:
    (row,) = read_rows(source({"ask": "2 + 3?", "say": "#### 5"}, question="ask", answer="say"))
    assert (row["question"], row["answer"]) == ("2 + 3?", "#### 5")


def test_a_limit_takes_the_first_rows(source: Source) -> None:
    assert [row["row"] for row in read_rows(source(ROW, ROW, ROW, limit=2))] == [1, 2]


def test_word_problems_come_as_numbered_rows() -> None:
    rows = list(read_rows(Data(source=WordProblems(problems=3))))
    assert [(row["file"], row["row"]) for row in rows] == [("word_problems", 1), ("word_problems", 2), ("word_problems", 3)]


# Pairs


def test_a_pair_of_the_source_is_kept(source: Source) -> None:
    (row,) = read_rows(source({**ROW, "chosen": "#### 5", "rejected": "#### 6"}))
    assert (row["chosen"], row["rejected"]) == ("#### 5", "#### 6")


def test_a_derived_pair_differs_from_the_answer_in_its_last_number_alone(source: Source) -> None:
    (row,) = read_rows(source({**ROW, "answer": "900 + 100 = 1,000\n#### 1,000"}).model_copy(update={"pair_noise": 0.0}))
    assert row["chosen"] == row["answer"]
    assert row["rejected"].startswith("900 + 100 = 1,000\n#### ")
    assert abs(final(row["rejected"]) - 1000) in {1, 2, 10}


@pytest.mark.parametrize("answer", ["#### 2.5", "no number", "#### five"])
def test_no_pair_is_derived_from_an_answer_that_is_no_integer(source: Source, answer: str) -> None:
    (row,) = read_rows(source({**ROW, "answer": answer}))
    assert (row["chosen"], row["rejected"]) == (None, None)


def test_a_derived_pair_depends_on_the_row_and_not_on_its_place(source: Source) -> None:
    rows = [{"question": f"{n} + 3?", "answer": f"#### {n + 3}"} for n in range(50)]
    forward = {row["question"]: row["rejected"] for row in read_rows(source(*rows))}
    backward = {row["question"]: row["rejected"] for row in read_rows(source(*rows[::-1]))}
    assert forward == backward


def test_a_file_of_pairs_follows_the_problems(source: Source, tmp_path: Path) -> None:
    pair = {"question": "1 + 1?", "chosen": "#### 2", "rejected": "#### 3"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    problem, preference = read_rows(source(ROW, pairs=str(tmp_path / "pairs.jsonl")))
    assert problem["chosen"] is None
    assert (preference["chosen"], preference["rejected"], preference["answer"]) == ("#### 2", "#### 3", "#### 2")
    assert preference["file"].endswith("pairs.jsonl")


# Odd files


@pytest.mark.parametrize("end", [b"\r\n", b"\n\n", b"  \n"], ids=["CRLF", "blank lines", "trailing spaces"])
def test_line_ends_are_no_part_of_a_row(source: Source, end: bytes) -> None:
    assert [row["answer"] for row in read_rows(source(ROW, ROW, end=end))] == [ROW["answer"]] * 2


def test_a_byte_order_mark_is_no_part_of_the_first_row(source: Source) -> None:
    assert [row["question"] for row in read_rows(source(b"\xef\xbb\xbf" + json.dumps(ROW).encode()))] == ["2 + 3?"]


def test_a_last_line_without_an_end_is_read(source: Source) -> None:
    assert len(list(read_rows(source(json.dumps(ROW).encode(), end=b"")))) == 1


@pytest.mark.parametrize(
    "text", ["\u202eright to left", "zero\u200bwidth", "e\u0301 is é", "👩‍👩‍👧", "a\x00b", "<|im_start|> </s>"]
)
def test_any_text_comes_through_unchanged(source: Source, text: str) -> None:
    (row,) = read_rows(source({**ROW, "question": text}))
    assert row["question"] == text


BAD_LINES = {
    "invalid UTF-8": b'{"question": "\xff"}',
    "UTF-16": '{"question": "q"}'.encode("utf-16"),
    "truncated": b'{"question": "2 +',
    "trailing comma": b'{"question": "q",}',
    "NaN": b'{"question": "q", "answer": NaN}',
    "Infinity": b'{"question": "q", "answer": -Infinity}',
    "a list": b'["question"]',
    "a number": b"5",
    "null": b"null",
    "a mark in the middle": b'\xef\xbb\xbf{"question": "q"}',
    "lone surrogate": b'{"question": "\\ud800", "answer": "#### 5"}',
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_with_its_file_and_number(source: Source, line: bytes) -> None:
    with pytest.raises(DataError, match=r"source\.jsonl, line 2: "):
        list(read_rows(source(ROW, line, ROW)))


def test_a_file_that_is_not_there_is_named_with_the_key_to_correct(tmp_path: Path) -> None:
    data = Data(source=JsonLines(kind="jsonl", path=str(tmp_path / "absent.jsonl")))
    with pytest.raises(DataError, match=r"absent\.jsonl.*data\.source"):
        list(read_rows(data))


def test_a_folder_is_not_a_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"):
        list(parse_json_lines(tmp_path, None))


def test_every_real_problem_gets_a_near_miss_of_its_own_answer(gsm8k: Path) -> None:
    data = Data(source=JsonLines(kind="jsonl", path=str(gsm8k / "test.jsonl")), pair_noise=0.0)
    rows: list[dict[str, Any]] = list(read_rows(data))
    assert len(rows) == 1000
    assert all(row["chosen"] == row["answer"] != row["rejected"] for row in rows)
