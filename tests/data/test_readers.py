"""JSONL, Parquet, CSV, folders of shards and saved datasets give the same rows, strictly read; a bad file is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ratchet.components.data import readers
from ratchet.components.data.readers import parse_json_lines, read_csv, read_parquet
from ratchet.components.data.sources import read_rows, source_files
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, JsonLines, parts

RECORDS = [{"question": f"{n} + 3?", "answer": f"#### {n + 3}"} for n in range(5)]
FRAME = pl.DataFrame(RECORDS)
ROW = {"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
Source = Callable[..., Data]


def folder_of_shards(path: Path) -> None:
    path.mkdir()
    FRAME[:2].write_parquet(path / "a.parquet")
    FRAME[2:4].write_csv(path / "b.csv")
    (path / "c.jsonl").write_text(json.dumps(RECORDS[4]))
    (path / "README.md").write_text("no data")


def saved_dataset(path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(RECORDS).save_to_disk(str(path))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "source.parquet": FRAME.write_parquet,
    "source.csv": FRAME.write_csv,
    "source.tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "shards": folder_of_shards,
    "saved": saved_dataset,
}


def rows(source: Any) -> list[dict[str, Any]]:
    return list(read_rows(Data.model_validate({"source": source})))


@pytest.mark.parametrize("name", WRITERS)
def test_a_bare_path_of_any_kind_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = rows(str(tmp_path / name))
    assert [{"question": row["prompt"], "answer": row["answer"]} for row in found] == RECORDS
    assert all(row["chosen"] or row["rejected"] for row in found)


def test_a_row_of_a_shard_is_named_by_its_own_file(tmp_path: Path) -> None:
    folder_of_shards(tmp_path / "shards")
    places = [(Path(row["file"]).name, row["row"]) for row in rows(str(tmp_path / "shards"))]
    assert places == [("a.parquet", 1), ("a.parquet", 2), ("b.csv", 1), ("b.csv", 2), ("c.jsonl", 1)]


def test_a_mix_numbers_its_parts(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME[:1].write_parquet(tmp_path / "b.parquet")
    mix = {"kind": "mix", "sources": [{"source": str(tmp_path / n)} for n in ("a.csv", "b.parquet")]}
    assert [row["part"] for row in rows(mix)] == [0] * 5 + [1]


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "a.parquet")
    assert len(rows({"kind": "parquet", "path": str(tmp_path / "a.parquet"), "limit": 2})) == 2


# Odd files


def test_quotes_and_line_ends_of_csv_are_no_part_of_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfquestion,answer\r\n"a ""b"",\nc",\r\n\r\nd,e\r\n')
    assert list(read_csv(tmp_path / "a.csv", ",")) == [
        (1, {"question": 'a "b",\nc', "answer": None}),
        (2, {"question": "d", "answer": "e"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"question,answer\na,b\nc\n", "row 2: 1 values for 2 names"),
        (b'question,answer\n"a"b,c\n', "row 1: not CSV"),
        (b"question,question\na,b\n", "has a duplicate column"),
        (b"", "is empty"),
        (b"question,answer\na,\xff\n", "line 2: invalid UTF-8"),
    ],
)
def test_bad_csv_is_refused_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_csv(tmp_path / "a.csv", ","))


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="as Parquet"):
        list(read_parquet(tmp_path / "a.parquet"))


def test_a_file_that_unpacks_to_more_than_its_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"question": ["x" * 100] * 10_000}).write_parquet(tmp_path / "bomb.parquet")
    monkeypatch.setattr(readers, "MAX_BYTES", 100_000)
    assert (tmp_path / "bomb.parquet").stat().st_size < 10_000
    with pytest.raises(DataError, match="decompresses to more"):
        list(read_parquet(tmp_path / "bomb.parquet"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.parquet", "no file absent.parquet"),
        ("some/dataset", "no folder some/dataset.*kind=huggingface"),
    ],
)
def test_a_source_that_is_not_there_is_refused(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source_files(parts(Data.model_validate({"source": source}).source)[0].source)


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no file that ends in"):
        rows(str(tmp_path))


def test_a_hub_dataset_needs_its_commit() -> None:
    with pytest.raises(DataError, match=r"data\.source\.revision"):
        rows({"kind": "huggingface", "path": "openai/gsm8k"})


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"\[hub\]"):
        rows({"kind": "huggingface", "path": "openai/gsm8k", "revision": "e53f048856ff4f594e959d75785d2c2d37b678ee"})


# JSONL


@pytest.mark.parametrize("end", [b"\r\n", b"\n\n", b"  \n"], ids=["CRLF", "blank lines", "trailing spaces"])
def test_line_ends_are_no_part_of_a_row(source: Source, end: bytes) -> None:
    assert [row["answer"] for row in read_rows(source(ROW, ROW, end=end))] == [ROW["answer"]] * 2


def test_a_byte_order_mark_is_no_part_of_the_first_row(source: Source) -> None:
    assert [row["prompt"] for row in read_rows(source(b"\xef\xbb\xbf" + json.dumps(ROW).encode()))] == ["2 + 3?"]


def test_a_last_line_without_an_end_is_read(source: Source) -> None:
    assert len(list(read_rows(source(json.dumps(ROW).encode(), end=b"")))) == 1


@pytest.mark.parametrize(
    "text", ["\u202eright to left", "zero\u200bwidth", "e\u0301 is é", "👩‍👩‍👧", "a\x00b", "<|im_start|> </s>"]
)
def test_any_text_comes_through_unchanged(source: Source, text: str) -> None:
    (row,) = read_rows(source({**ROW, "question": text}))
    assert row["prompt"] == text


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
        list(parse_json_lines(tmp_path))


def test_a_line_without_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 10)
    (tmp_path / "source.jsonl").write_bytes(b'{"a": 1}\n' + b" " * 11)
    with pytest.raises(DataError, match="line 2: longer than 10 bytes"):
        list(parse_json_lines(tmp_path / "source.jsonl"))
