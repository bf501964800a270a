"""JSONL is read strictly: text comes through unchanged, and a bad line is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet.components.data import json_lines
from ratchet.components.data.json_lines import parse_json_lines
from ratchet.components.data.sources import read_rows
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, JsonLines

ROW = {"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
Source = Callable[..., Data]


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
    "a key given twice": b'{"question": "q", "question": "r"}',
    "a key given twice inside": b'{"question": "q", "meta": {"a": 1, "a": 2}}',
    "1e400": b'{"question": "q", "answer": 1e400}',
    "two objects": b'{"question": "q"} {"question": "r"}',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_with_its_file_and_number(source: Source, line: bytes) -> None:
    with pytest.raises(DataError, match=r"source\.jsonl, line 2: "):
        list(read_rows(source(ROW, line, ROW)))


def test_a_file_that_is_not_there_is_named_with_the_key_to_correct(tmp_path: Path) -> None:
    data = Data(source=JsonLines(kind="jsonl", path=str(tmp_path / "absent.jsonl")))
    with pytest.raises(DataError, match=r"absent\.jsonl.*data\.source"):
        list(read_rows(data))


def test_a_folder_is_no_file_of_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"):
        list(parse_json_lines(tmp_path, None))


def test_a_line_without_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 10)
    (tmp_path / "source.jsonl").write_bytes(b'{"a": 1}\n' + b" " * 11)
    with pytest.raises(DataError, match="line 2: longer than 10 bytes"):
        list(parse_json_lines(tmp_path / "source.jsonl", None))
