"""What ``task`` makes of a source's record: the messages that the policy is asked, and the reference."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ratchet.components.data.columns import Lacking
from ratchet.components.errors import DataError
from ratchet.components.recipe import Task
from ratchet.components.recipe.task import FILE, checked_template
from ratchet.components.templates import AbsentError, Template, as_text, follow, parse_template, written

Turns = list[dict[str, str]]
Ask = Callable[[Mapping[str, Any], str, int], Turns]  # of a record, its file and its number
SHOWN = 20  # fields named in a message
REMEDY = "Give it a value, or remove the row."


class LackingError(DataError):
    """A row lacks what a template reads, which is a fault of that row alone."""

    def __init__(self, place: str, fault: Lacking, remedy: str) -> None:
        self.fault = fault
        super().__init__(f"{place}: {fault.reason}. {remedy}")


def asking(task: Task) -> Ask:
    """What makes the messages of a record; it raises ``LackingError`` where the record lacks a field that they read.

    Raises:
        DataError: if a content's file cannot be read or is not a template.
    """
    turns = templates_of(task)
    paths = [path for _, template in turns for path in template.paths]

    def ask(record: Mapping[str, Any], file: str, number: int) -> Turns:
        asked = [{"role": role, "content": _filled(template, record, file, number)} for role, template in turns]
        if paths and not any(as_text(follow(path, {"item": record})).strip() for path in paths):
            raise LackingError(f"{file}, row {number}", Lacking(f"{written(paths[0])} is blank, and task reads it"), REMEDY)
        return asked

    return ask


def templates_of(task: Task) -> list[tuple[str, Template]]:
    """Role and template of each turn.

    Raises:
        DataError: if a content's file cannot be read or is not a template.
    """
    return [(turn.role, parse_template(_text(turn.content))) for turn in task.turns]


def filling(task: Task, record: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """What the task is to ask of a record that may have a text alone: the record, or one whose only field read is the text.

    A record that lacks one of several fields is returned as it is; asking it names the field.
    """
    paths = {path[1:] for _, template in templates_of(task) for path in template.paths}
    if text is None or len(paths) != 1 or all(path[0] in record for path in paths):
        return dict(record)
    (path,) = paths
    row: Any = text
    for step in reversed(path):
        row = [row] * (step + 1) if isinstance(step, int) else {step: row}
    return dict(row)


def answering(answer: str, needed: bool = True) -> Callable[[Mapping[str, Any], str, int], str | None]:
    """What makes the reference of a record, its file and its number: text as it is, other values as JSON.

    Args:
        needed: whether every record must have one; else it is None where a field is missing or null.
    """
    template = parse_template(answer)

    def reference(record: Mapping[str, Any], file: str, number: int) -> str | None:
        return None if not needed and _missing(template, record) else _filled(template, record, file, number, "task.answer")

    return reference


def _missing(template: Template, record: Mapping[str, Any]) -> bool:
    try:
        return any(follow(path, {"item": record}) is None for path in template.paths)
    except AbsentError:
        return True


def _text(content: str) -> str:
    if not content.startswith(FILE):
        return content
    path = Path(content.removeprefix(FILE))
    try:
        return checked_template(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Correct the path in task ({content}).") from error
    except ValueError as error:  # not UTF-8, or not a template
        raise DataError(f"{path} is not a template: {error}. Correct the file.") from error


def _filled(template: Template, record: Mapping[str, Any], file: str, number: int, key: str = "task") -> str:
    """The template with the record's fields.

    Args:
        key: where the recipe has the template, for messages.

    Raises:
        LackingError: naming the row and the field that it lacks, or that is null in it.
    """
    place, spaces = f"{file}, row {number}", {"item": record}
    try:
        text = template.text(spaces)
    except AbsentError as error:
        names = [repr(name) for name in record]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        there = f"The row's fields are {', '.join(names[:SHOWN])}{more}."
        fault = Lacking(f"{error}, which {key} reads", absent=True)
        raise LackingError(place, fault, f"{there} Correct {key}, or give the field to each row.") from None
    empty = [path for path in template.paths if follow(path, spaces) is None]
    if empty:
        raise LackingError(place, Lacking(f"{written(empty[0])} is null, and {key} reads it"), REMEDY)
    return text
