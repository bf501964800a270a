"""Planted wrong answers: a gold that takes one of them for right is broken."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.graders.number import final_number, format_number

Rows = Sequence[Mapping[str, Any]]
# Texts that some judges take for good answers whatever the question (arXiv:2507.08794), and what gaming policies write.
MASTER_STRINGS = (
    ":", ".", "Solution", "Thought process:", "Let's solve this step by step.", "The answer is", "I don't know.", "None",
    "null", "{}", "[]", "SELECT 1", "#### ", "correct",
)  # fmt: skip


def empty(rows: Rows) -> list[str | None]:
    """The empty text."""
    return [""] * len(rows)


def echo(rows: Rows) -> list[str | None]:
    """The prompt, where the reference is no part of it."""
    return [None if _form(row) in " ".join(row["prompt"].split()).casefold() else row["prompt"] for row in rows]


def swapped(rows: Rows) -> list[str | None]:
    """The reference of the next row that has another one."""
    return [_next(rows, place) for place in range(len(rows))]


def _next(rows: Rows, place: int) -> str | None:
    own = _form(rows[place])
    others = (rows[(place + step) % len(rows)] for step in range(1, len(rows)))
    return next((str(row["answer"]) for row in others if _form(row) != own), None)


def majority(rows: Rows) -> list[str | None]:
    """The commonest reference, to the rows with another one."""
    if not rows:
        return []
    common = Counter(map(_form, rows)).most_common(1)[0][0]
    text = next(str(row["answer"]) for row in rows if _form(row) == common)
    return [None if _form(row) == common else text for row in rows]


def changed(rows: Rows) -> list[str | None]:
    """The reference with its final number one larger, or with one field of its JSON changed; None of other references."""
    return [_changed(str(row["answer"])) for row in rows]


def _changed(answer: str) -> str | None:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value:
        name = sorted(value)[0]
        return json.dumps({**value, name: _other(value[name])}, ensure_ascii=False)
    number = final_number(answer)
    return None if number is None else f"#### {format_number(number + 1)}"


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if abs(value) < 1e6 else value * 2
    return f"{value} else" if isinstance(value, str) else None if value is not None else 0


def _form(row: Mapping[str, Any]) -> str:
    """What two references must differ in to count as different: for worked answers their final numbers, else their texts."""
    answer = str(row["answer"])
    number = final_number(answer)
    return format_number(number) if number is not None else " ".join(answer.split()).casefold()
