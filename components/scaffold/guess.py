"""What a file of rows is for: which column asks, which one has what is right, and how that is judged. Guessed from the rows."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.components.data.columns import conversation
from ratchet.components.errors import RecipeError
from ratchet.components.graders.number import parse_number
from ratchet.components.scaffold.table import Column, Table

TASKS = {
    "maths": "the answer is a number",
    "classify": "the answer is one of a few labels",
    "extract": "the answer is a JSON object",
    "sql": "the answer is an SQL query",
    "text": "the whole answer is the reference",
    "preferences": "of two answers, one is better",
    "own": "a function of yours decides",
}
ASKING = (
    *("question", "prompt", "instruction", "input", "problem", "text", "ticket", "utterance", "message", "body", "content"),
    *("document", "review", "sentence", "title", "description", "query"),
)
RIGHT = (
    *("answer", "label", "target", "expected", "reference", "gold", "ground_truth", "truth", "solution", "output", "response"),
    *("completion", "category", "class", "intent", "sentiment", "topic", "queue", "sql", "query", "json", "result"),
)
IDENTIFIERS = ("id", "idx", "index", "uuid", "key", "chosen", "rejected")
NEITHER = (*IDENTIFIERS, "number", "timestamp", "date", "score")
PAIR = ("chosen", "rejected")
MOST = 0.99  # share of the values that must have a form
MOST_LABELS, FEWEST_PER_LABEL, LONGEST_LABEL = 20, 5, 60
MOST_GIVEN = 200  # labels, where the task is given and not guessed
SQL = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Where a row says what is asked and what is right.

    Attributes:
        asked: None if it is in the conversation that both sides of a pair begin with.
        right: None if it is the reply that ends the messages, the chosen answer, or nowhere.
    """

    asked: str | None
    right: str | None


def guess_columns(table: Table, asked: str | None = None, right: str | None = None, function: bool = False) -> Columns:
    """The columns of a table; those that are given are looked up only.

    Args:
        function: whether a function of the user's judges: a column that is not called an answer may be for that alone.

    Raises:
        RecipeError: if there is none that could ask, or several could have what is right; the columns are named.
    """
    for option, name in (("--question", asked), ("--answer", right)):
        if name is not None and name not in table.columns:
            raise RecipeError(f"{option} {name!r} is not a column. The columns are {_listed(table)}.")
    if asked is not None and table.columns[asked].kind not in ("text", "messages"):
        raise RecipeError(f"--question {asked!r} is {table.columns[asked].kind}, and a question is text or chat messages.")
    taken = {name for name in (asked, right) if name is not None}
    others = [column for name, column in table.columns.items() if name not in taken and column.kind != "empty"]
    asked = asked or _asking(others)
    if asked is None and not _is_paired(table):
        raise RecipeError(
            f"no column of {table.path} is a question: a text, or chat messages. Its columns are {_listed(table)}. "
            "Name one with --question."
        )
    others = [column for column in others if column.name != asked]
    return Columns(asked, right or _right(table, others, asked, function))


def references(table: Table, columns: Columns) -> list[Any]:
    """What is right in each row that says it: a column's values, the replies of messages, or the chosen answers."""
    if columns.right is not None:
        return table.columns[columns.right].given
    if _is_paired(table):
        return table.columns["chosen"].given
    if columns.asked is None or table.columns[columns.asked].kind != "messages":
        return []
    chats = [conversation(value) for value in table.columns[columns.asked].given]
    return [chat.reply for chat in chats if chat is not None and chat.reply is not None]


def guess_task(table: Table, columns: Columns) -> str:
    """One of ``TASKS``, by what the references are; the order matters, because a label or a query is a text too."""
    if columns.right is None and _is_paired(table):
        return "preferences"
    values = references(table, columns)
    forms: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("own", lambda: not values),
        ("extract", lambda: _share(values, _is_object) >= MOST),
        ("sql", lambda: _share(values, _is_query) >= MOST),
        ("maths", lambda: _share(values, is_marked) >= MOST),
        ("classify", lambda: bool(labels_of(values))),
        ("maths", lambda: _share(values, is_number) >= MOST),
    )
    return next((task for task, fits in forms if fits()), "text")


def require_task(table: Table, columns: Columns, task: str) -> None:
    """Refuse a task that the rows are not for.

    Raises:
        RecipeError: saying what they lack.
    """
    values = references(table, columns)
    lacks: dict[str, tuple[bool, str]] = {
        "maths": (_share(values, lambda one: is_number(one) or is_marked(one)) >= MOST, "answers that are numbers"),
        "classify": (_are_labels(distinct(values), MOST_GIVEN), f"2 to {MOST_GIVEN} short answers that return"),
        "extract": (_share(values, _is_object) >= MOST, "answers that are JSON objects"),
        "sql": (_share(values, _is_query) >= MOST, "answers that begin with SELECT or WITH"),
        "text": (bool(values), "answers"),
        "preferences": (_is_paired(table), "columns chosen and rejected"),
    }
    fits, what = lacks.get(task, (task == "own", f"a task of this name: the tasks are {', '.join(TASKS)}"))
    if not fits:
        raise RecipeError(f"--task {task} needs {what}, and {table.path} has none. Correct --task, --question or --answer.")


def labels_of(values: Sequence[Any]) -> list[str]:
    """The distinct values, if they are so few and short that they are labels; else none."""
    labels = distinct(values)
    return labels if _are_labels(labels, min(MOST_LABELS, len(values) // FEWEST_PER_LABEL)) else []


def distinct(values: Sequence[Any]) -> list[str]:
    """The distinct values as texts, sorted."""
    return sorted({as_reference(value).strip() for value in values})


def _are_labels(texts: Sequence[str], most: int) -> bool:
    return 2 <= len(texts) <= most and all(len(text) <= LONGEST_LABEL and "\n" not in text for text in texts)


def as_reference(value: Any) -> str:
    """A value as the dataset's table has it as an answer."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def is_marked(value: Any) -> bool:
    """Whether a value ends in ``#### N``."""
    return isinstance(value, str) and "####" in value and parse_number(value.rpartition("####")[2]) is not None


def is_number(value: Any) -> bool:
    """Whether a value is one number, or a text that is."""
    return not isinstance(value, bool) and (isinstance(value, int | float) or _parsed(value) is not None)


def _parsed(value: Any) -> Any:
    return parse_number(value) if isinstance(value, str) else None


def _is_object(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, dict)
    try:
        return value.lstrip().startswith("{") and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _is_query(value: Any) -> bool:
    return isinstance(value, str) and SQL.match(value) is not None


def _share(values: Sequence[Any], fits: Callable[[Any], bool]) -> float:
    return sum(map(fits, values)) / len(values) if values else 0.0


def _is_paired(table: Table) -> bool:
    return all(name in table.columns and table.columns[name].kind != "empty" for name in PAIR)


def _asking(columns: Sequence[Column]) -> str | None:
    """Chat messages, else a text whose name says so, else the longest text whose name does not say that it is another thing.

    Of a ticket's id, its category and its body, the names of the first two say more than that they are a ticket's.
    """
    messages = [column for column in columns if column.kind == "messages" and column.name not in PAIR]
    texts = [column for column in columns if column.kind == "text"]
    free = [column for column in texts if not _words(column.name) & {*RIGHT, *NEITHER} and _share(column.given, is_number) < 1]
    longest = [max(free, key=lambda column: column.length)] if free else []
    named = _named(texts, ASKING)
    other = [column for column in named if _words(column.name) & set(NEITHER)]
    right = [column for column in named if _words(column.name) & set(RIGHT).difference(ASKING) and column not in other]
    asking = [column for column in named if column not in (*other, *right)]
    found = [*_named(messages, ("messages",)), *messages, *asking, *right, *longest, *other]
    return found[0].name if found else None


def _right(table: Table, others: Sequence[Column], asked: str | None, function: bool) -> str | None:
    """The column whose name says so, else the only one left that varies; none where messages or pairs have it.

    Raises:
        RecipeError: if several are left.
    """
    possible = [column for column in others if column.kind != "messages" and column.name not in PAIR]
    named = sorted(_named(possible, RIGHT), key=lambda column: bool(_words(column.name) & set(IDENTIFIERS)))
    if named:
        return named[0].name
    if function or _is_paired(table) or (asked is not None and table.columns[asked].kind == "messages"):
        return None
    vary = [column for column in possible if len(distinct(column.given)) > 1]
    left = [column for column in vary if not _words(column.name) & set(NEITHER)]
    left = left or [column for column in vary if not _words(column.name) & set(IDENTIFIERS)]  # a date, if there is no other
    if len(left) > 1:
        raise RecipeError(
            f"several columns of {table.path} could have the answers: {', '.join(repr(column.name) for column in left)}. "
            "Name one with --answer."
        )
    return left[0].name if left else None


def _named(columns: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """Columns in the order of names: those called so first, then those with such a word in theirs."""
    whole = [column for name in names for column in columns if column.name.casefold() == name]
    parts = [column for name in names for column in columns if name in _words(column.name)]
    return [*whole, *parts]


def _words(name: str) -> set[str]:
    return {name.casefold(), *re.split(r"[^a-z0-9]+", name.casefold())}


def _listed(table: Table) -> str:
    return ", ".join(repr(name) for name in table.columns)
