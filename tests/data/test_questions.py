"""A question is known by the fields that are asked, not by the words around them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.duplicates import with_ids
from ratchet.components.data.prepare import prepare
from ratchet.components.data.questions import UnlikeError, asked_by, keys, place_of, whole
from ratchet.components.data.schemas import raw_frame
from ratchet.components.recipe import Data, Task
from ratchet.components.storage.files import read_json_lines, write_json_lines

TEXTS = {"checks": {"answers": "text"}, "near_duplicates": None, "decontaminate": None}
ROW = {"title": "Old", "body": "A chair", "tag": 3}


def asked(*fields: str, **values: Any) -> dict[str, str]:
    template = " | ".join(f"{{{{item.{name}}}}}" for name in fields)
    found = asked_by(Task(prompt=f"Sort: {template}"))({**ROW, **values})
    assert found is not None
    return found


def same(one: dict[str, str], other: dict[str, str]) -> bool:
    return not set(keys(one, sorted(other))).isdisjoint(keys(other, sorted(one)))


def test_a_question_in_one_field_has_the_place_of_its_text() -> None:
    assert whole(asked("body")) == place_of("a  CHAIR")
    assert whole(asked("tag")) == place_of("3")


def test_the_order_of_fields_and_the_words_around_them_do_not_count() -> None:
    other = asked_by(Task(prompt="{{item.body}} and {{item.title}}, {{item.body}}"))(ROW)
    assert other == asked("title", "body")


def test_a_row_without_a_field_and_a_task_that_asks_nothing_say_nothing() -> None:
    assert asked_by(Task(prompt="{{item.none}}"))(ROW) is None
    assert asked_by(Task(answer="{{item.tag}}"))(ROW) is None
    assert asked_by(None)(ROW) is None


def test_questions_asked_by_other_fields_are_compared_by_those_that_both_have() -> None:
    assert same(asked("title", "body"), asked("body", "title", title="OLD"))
    assert not same(asked("title", "body"), asked("title", "body", body="A table"))
    assert same(asked("title", "body"), asked("body"))  # one of two became the question
    assert same(asked("body"), {"prompt": place_of("A chair")})  # a column's name is no part of a question
    assert same(asked("title", "body", "tag"), asked("title", "body", tag=4))
    assert not same(asked("title", "body", "tag"), asked("title", "body", body="A table"))
    with pytest.raises(UnlikeError):
        same(asked("title", "body"), {"item.head": "0", "item.text": "1"})


def tables(folder: Path, prompt: str | None) -> dict[str, str]:
    """The table of each question."""
    folder.mkdir()
    rows = [{"question": f"Name number {n}", "answer": "a" if n % 2 else "b"} for n in range(300)]
    write_json_lines(folder / "rows.jsonl", rows)
    values = {"source": str(folder / "rows.jsonl"), "task": prompt and {"prompt": prompt}}
    (folder / "data").mkdir()
    prepare(Data.model_validate({**values, **TEXTS}), folder / "data")
    found = {path.stem: read_json_lines(path) for path in (folder / "data").glob("*.jsonl")}
    return {row["prompt"].partition("|")[2] or row["prompt"]: name for name, rows in found.items() for row in rows}


def test_an_edited_instruction_deals_no_row_again(tmp_path: Path) -> None:
    first = tables(tmp_path / "a", "Answer in one word.|{{item.question}}")
    assert tables(tmp_path / "b", "Answer with one single word.|{{item.question}}") == first
    assert tables(tmp_path / "c", None) == first
    assert len(set(first.values())) > 4


def test_added_rows_stand_where_the_sources_do_though_they_were_asked_in_other_words(tmp_path: Path) -> None:
    first = tables(tmp_path / "a", "Answer in one word.|{{item.question}}")
    names = ("chosen", "rejected", "group")
    row = {"file": "added", "answer": "a", "demonstration": "a", "shape": "problem", **dict.fromkeys(names)}
    texts = [f"Name number {n}" for n in range(1, 300)]
    added = [{**row, "row": n, "prompt": f"Say it.|{text}", "item": {"question": text}} for n, text in enumerate(texts, 1)]
    values = {"source": str(tmp_path / "a" / "rows.jsonl"), "task": {"prompt": "In a word.|{{item.question}}"}}
    (tmp_path / "b").mkdir()
    prepare(Data.model_validate({**values, **TEXTS}), tmp_path / "b", added)
    found = {path.stem: read_json_lines(path) for path in (tmp_path / "b").glob("*.jsonl") if path.stem != "added"}
    both = [(row["prompt"].partition("|")[2], name) for name, rows in found.items() for row in rows]
    assert len(both) == 599
    assert all(first[question] == name for question, name in both)


def test_one_prompt_of_other_fields_is_one_row() -> None:
    asked_twice = [{"a": "x y", "b": "z"}, {"a": "x", "b": "y z"}]
    ask = asked_by(Task(prompt="{{item.a}} {{item.b}}"))
    rows = with_ids(raw_frame([{"prompt": "x y z", "asked": json.dumps(ask(row))} for row in asked_twice]).frame)
    assert rows["id"].n_unique() == rows["place"].n_unique() == 1
