"""Benchmark files of the user's own."""

import json
from pathlib import Path

import pytest

from ratchet.components.errors import DataError
from ratchet.components.evaluation.benchmarks.files import benchmark_path, benchmark_rows
from ratchet.components.recipe import Data


def written(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_rows_have_a_question_or_a_prompt_and_keep_their_fields(tmp_path: Path) -> None:
    one = {"question": " 1 + 1? ", "answer": "#### 2", "level": 5}
    rows = benchmark_rows("b", written(tmp_path / "b.jsonl", one, {"prompt": "2 + 2?", "answer": 4}))
    assert [(row["prompt"], row["answer"], row.get("level")) for row in rows] == [
        ("1 + 1?", "#### 2", 5),
        ("2 + 2?", "4", None),
    ]
    assert len({row["id"] for row in rows}) == 2
    assert all(int(row["id"], 16) for row in rows)


def test_of_two_rows_with_one_prompt_the_first_counts(tmp_path: Path) -> None:
    rows = benchmark_rows("b", written(tmp_path / "b", {"prompt": "a", "answer": "1"}, {"prompt": "a ", "answer": "1.0"}))
    assert [row["answer"] for row in rows] == ["1"]


def test_faults_prompts_that_look_alike_are_different_items_of_a_benchmark(tmp_path: Path) -> None:
    given = [{"prompt": prompt, "answer": str(n)} for n, prompt in enumerate(["2² m?", "22 m?", "22 M?", "22\nm?"])]
    rows = benchmark_rows("b", written(tmp_path / "b", *given))
    assert [row["answer"] for row in rows] == ["0", "1", "2", "3"]
    assert len({row["id"] for row in rows}) == 4


def test_faults_a_benchmark_with_two_answers_to_one_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prompt 2 of .* appears twice with different answers"):
        benchmark_rows("b", written(tmp_path / "b", {"prompt": "a", "answer": "1"}, {"prompt": "a ", "answer": "2"}))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"answer": "1"}, "neither question nor prompt"),
        ({"prompt": "a", "answer": "none"}, "row 1 .* is not a single number"),
        ({"prompt": "a", "answer": "5 m/s^2"}, "row 1 .* is not a single number"),
    ],
)
def test_a_row_that_cannot_be_judged_is_named(tmp_path: Path, row: dict[str, object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        benchmark_rows("b", written(tmp_path / "b", row))


def test_a_benchmark_needs_a_file_with_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        benchmark_path("b", str(tmp_path / "none"))
    with pytest.raises(DataError, match="no rows"):
        benchmark_rows("b", written(tmp_path / "b"))


def test_a_prompt_may_come_as_chat_messages_as_in_any_source(tmp_path: Path) -> None:
    one = {"messages": [{"role": "user", "content": "1 + 1?"}], "answer": "#### 2"}
    two = {"question": None, "prompt": "2 + 2?", "answer": "#### 4"}
    (tmp_path / "b.jsonl").write_text(f"{json.dumps(one)}\n{json.dumps(two)}", encoding="utf-8")
    assert [row["prompt"] for row in benchmark_rows("b", str(tmp_path / "b.jsonl"))] == ["1 + 1?", "2 + 2?"]


# Under a task

SYSTEM = {"role": "system", "content": "Answer with a label."}
LABELS = Data.model_validate(
    {
        "source": {"kind": "jsonl", "path": "rows.jsonl", "answer": "label"},
        "task": {"messages": [SYSTEM, {"role": "user", "content": "{{item.text}}"}]},
    }
)
SQL = Data.model_validate(
    {
        "source": {"kind": "jsonl", "path": "rows.jsonl"},
        "task": {
            "messages": [{"role": "system", "content": "Tables: {{item.schema}}"}, {"role": "user", "content": "{{item.q}}"}]
        },
    }
)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Late?", "answer": "delivery"},
        {"prompt": "Late?", "label": "delivery"},
        {"text": "Late?", "label": "delivery"},
    ],
)
def test_the_task_asks_a_row_by_its_field_or_by_a_text(tmp_path: Path, row: dict[str, object]) -> None:
    (made,) = benchmark_rows("b", written(tmp_path / "b", row), numbers=False, data=LABELS)
    assert made["messages"] == [SYSTEM, {"role": "user", "content": "Late?"}]
    assert (made["prompt"], made["answer"]) == ("system: Answer with a label.\n\nuser: Late?", "delivery")


def test_messages_are_asked_without_the_task(tmp_path: Path) -> None:
    other = [{"role": "system", "content": "Other."}, {"role": "user", "content": "Late?"}]
    rows = [{"messages": other, "answer": "a"}, {"prompt": other[1:], "answer": "b"}]
    several, one = benchmark_rows("b", written(tmp_path / "b", *rows), numbers=False, data=LABELS)
    assert several["messages"] == other
    assert (one["messages"], one["prompt"]) == (None, "Late?")


def test_a_prompt_of_one_turn_and_a_reference_are_made_as_in_the_dataset(tmp_path: Path) -> None:
    task = {"prompt": "Sum: {{item.n[0]}}\n", "answer": "#### {{item.total}}"}
    data = Data.model_validate({"source": {"kind": "jsonl", "path": "rows.jsonl"}, "task": task})
    rows = [{"n": [7], "total": 7}, {"question": "8", "answer": "#### 8"}]
    made = benchmark_rows("b", written(tmp_path / "b", *rows), data=data)
    assert [(row["prompt"], row["answer"], row["messages"]) for row in made] == [
        ("Sum: 7", "#### 7", None),
        ("Sum: 8", "#### 8", None),
    ]
    assert made[0]["item"] == {"n": [7], "total": 7}


@pytest.mark.parametrize("row", [{"question": "How many?"}, {"q": "How many?"}])
def test_a_row_that_lacks_a_field_of_several_is_named(tmp_path: Path, row: dict[str, object]) -> None:
    full = {"q": "a", "schema": "b", "answer": "c"}
    with pytest.raises(DataError, match=r"row 2: there is no item\.schema, which task reads"):
        benchmark_rows("b", written(tmp_path / "b", full, row | {"answer": "1"}), numbers=False, data=SQL)


def test_a_row_that_asks_nothing_is_named_under_a_task_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1: there is no item\.text"):
        benchmark_rows("b", written(tmp_path / "b", {"label": "delivery"}), numbers=False, data=LABELS)
