"""What rows are for, by the names and the values of their columns."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.scaffold.guess import Columns, guess_columns, guess_task, labels_of, require_task
from ratchet.components.scaffold.table import Table

CHAT = [{"role": "user", "content": "2 and 3?"}, {"role": "assistant", "content": "#### 5"}]


def table(**columns: Any) -> Table:
    """Of columns with equal lengths."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Table(Path("rows.jsonl"), {"kind": "jsonl"}, rows, True, len(rows))


def texts(count: int = 30) -> list[str]:
    return [f"a rather long text, the one with number {n}" for n in range(count)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"question": texts(), "answer": texts()}, Columns("question", "answer")),
        ({"id": texts(), "Ticket_Text": texts(), "correct label": ["a", "b"] * 15}, Columns("Ticket_Text", "correct label")),
        (
            {"Ticket ID": texts(), "Ticket number": texts(), "Ticket category": ["a", "b"] * 15, "Message body": texts()},
            Columns("Message body", "Ticket category"),
        ),
        ({"ticket id": ["T-1", "T-2"] * 15, "story": texts(), "label": ["a", "b"] * 15}, Columns("story", "label")),
        ({"answer id": [1, 2] * 15, "text": texts(), "right label": ["a", "b"] * 15}, Columns("text", "right label")),
        ({"text id": texts(), "label": ["a", "b"] * 15}, Columns("text id", "label")),  # the only one
        ({"query": texts(), "response": texts()}, Columns("query", "response")),
        ({"question": texts(), "query": ["select 1"] * 30}, Columns("question", "query")),
        ({"note": ["short"] * 30, "story": texts(), "label": ["a", "b"] * 15}, Columns("story", "label")),
        ({"text": texts(), "id": texts(), "team": ["a", "b"] * 15}, Columns("text", "team")),
        ({"messages": [CHAT] * 30, "id": texts()}, Columns("messages", None)),
        ({"messages": [CHAT] * 30, "answer": texts()}, Columns("messages", "answer")),
        ({"prompt": texts(), "chosen": texts(), "rejected": texts()}, Columns("prompt", None)),
        ({"chosen": [CHAT] * 30, "rejected": [CHAT] * 30}, Columns(None, None)),
        ({"prompt": texts(), "score": [1.0] * 30}, Columns("prompt", None)),
    ],
)
def test_columns_are_found_by_their_names_else_by_their_values(columns: dict[str, Any], expected: Columns) -> None:
    assert guess_columns(table(**columns)) == expected


def test_what_a_function_reads_is_no_answer_unless_it_is_called_one() -> None:
    rows = table(prompt=texts(), words=[3, 4] * 15)
    assert guess_columns(rows) == Columns("prompt", "words")
    assert guess_columns(rows, function=True) == Columns("prompt", None)
    assert guess_columns(table(prompt=texts(), words=[3] * 30)) == Columns("prompt", None)  # the same in every row
    assert guess_columns(table(prompt=texts(), answer=texts()), function=True) == Columns("prompt", "answer")


def test_a_date_is_the_answer_only_if_nothing_else_can_be() -> None:
    dates = [f"2026-01-{day:02}" for day in range(1, 31)]
    assert guess_columns(table(text=texts(), date=dates)) == Columns("text", "date")
    assert guess_columns(table(text=texts(), date=dates, town=["a", "b"] * 15)) == Columns("text", "town")
    assert guess_columns(table(text=texts(), id=list(range(30)))) == Columns("text", None)


def test_a_given_column_is_taken() -> None:
    rows = table(text=texts(), label=["a", "b"] * 15, team=["x", "y"] * 15)
    assert guess_columns(rows, right="team") == Columns("text", "team")
    assert guess_columns(rows, asked="label", right="text") == Columns("label", "text")


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"n": [1, 2], "m": [3, 4]}, {}, "no column of rows.jsonl is a question.*'n', 'm'"),
        ({"text": ["", ""], "label": ["a", "b"]}, {}, "no column"),
        ({"n": ["1", "2"], "m": ["3", "4"]}, {}, "no column"),  # of a CSV file, where every value is text
        ({"text": texts(2), "p": ["a", "b"], "q": ["c", "d"]}, {}, "several columns.*'p', 'q'.*--answer"),
        ({"text": texts(2), "n": [1, 2]}, {"asked": "n"}, "--question 'n' is number"),
        ({"text": texts(2)}, {"right": "label"}, "--answer 'label' is not a column. The columns are 'text'"),
    ],
)
def test_faults_rows_without_a_usable_column_are_refused_by_its_names(
    columns: dict[str, Any], given: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        guess_columns(table(**columns), **given)


@pytest.mark.parametrize(
    ("answers", "task"),
    [
        ([f"work\n#### {n}" for n in range(30)], "maths"),
        ([n * 1.5 for n in range(30)], "maths"),
        ([f"{n:,}" for n in range(1_000, 1_030)], "maths"),
        (["yes", "no", "maybe"] * 10, "classify"),
        ([True, False] * 15, "classify"),
        ([1, 2, 3] * 10, "classify"),
        ([{"total": n} for n in range(30)], "extract"),
        ([f'{{"total": {n}}}' for n in range(30)], "extract"),
        ([f"  SELECT {n}" for n in range(30)], "sql"),
        (texts(), "text"),
        (["yes", "no", *texts(28)], "text"),
    ],
)
def test_the_task_follows_from_the_answers(answers: list[Any], task: str) -> None:
    rows = table(question=texts(), answer=answers)
    columns = Columns("question", "answer")
    assert guess_task(rows, columns) == task
    require_task(rows, columns, task)


def test_replies_and_pairs_have_tasks_too() -> None:
    assert guess_task(table(messages=[CHAT] * 30), Columns("messages", None)) == "maths"
    pairs = table(prompt=texts(), chosen=texts(), rejected=texts())
    assert guess_task(pairs, Columns("prompt", None)) == "preferences"
    assert guess_task(table(prompt=texts()), Columns("prompt", None)) == "own"


def test_labels_return_and_are_short() -> None:
    assert labels_of(["b", "a"] * 5) == ["a", "b"]
    assert labels_of(["a", "b", "c"]) == []  # each once
    assert labels_of(["only"] * 30) == []
    assert labels_of(["x" * 61, "y"] * 15) == []


@pytest.mark.parametrize("task", ["maths", "classify", "extract", "sql", "preferences", "poetry"])
def test_faults_a_task_that_the_rows_are_not_for_is_refused(task: str) -> None:
    answers = [f"{text}, and {'no end ' * 10}" for text in texts()]
    with pytest.raises(RecipeError, match=f"--task {task} needs"):
        require_task(table(question=texts(), answer=answers), Columns("question", "answer"), task)
