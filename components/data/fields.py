"""A field that no record has: reported once, with the fields that are there, and not as a null value of each row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ratchet.components.data.columns import TEXTS, Lacking
from ratchet.components.errors import DataError
from ratchet.components.recipe import Records

NAMED = ("question", "answer", "demonstration", "chosen", "rejected", "messages", "group")  # options that name a field
MAX_SHOWN = 20


class Fields:
    """The fields that the records of one file have, and the columns that at least one of its rows fills."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: dict[str, None] = {}  # in order of appearance
        self.filled: set[str] = set()
        self.absent: Counter[str] = Counter()  # what templates read, and rows do not have
        self.rows = 0

    def note(self, record: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Count a record, and the row made from it."""
        self.names.update(dict.fromkeys(record))
        self.filled.update(name for name, value in row.items() if value is not None)
        self.rows += 1
        values = (row.get(name) for name in TEXTS)
        self.absent.update({value.reason for value in values if isinstance(value, Lacking) and value.absent})

    def check_templates(self) -> None:
        """Refuse a file none of whose records has a field that the recipe's ``task`` reads.

        Raises:
            DataError: naming the field, and those that are there.
        """
        for reason, count in self.absent.items():
            if count == self.rows:
                remedy = "Correct task, or rename the field."
                raise DataError(f"{self.path}, each row: {reason}. The fields are {_listed(self.names)}. {remedy}")

    def check_columns(self, source: Records, columns: Iterable[str]) -> None:
        """Refuse a file none of whose records has a field for one of the columns ``prompt`` and ``answer``.

        Raises:
            DataError: naming the fields that were looked for and those that are there.
        """
        tried = {
            "prompt": (source.question, "prompt", source.messages),
            "answer": (source.answer, source.demonstration, "completion"),
        }
        options = {"prompt": "question", "answer": "answer"}
        for column in columns:
            if self.names and column not in self.filled and self.names.keys().isdisjoint(tried[column]):
                bare = " For prompts without answers set data.checks.answers=optional." if column == "answer" else ""
                raise DataError(f"{_absent(self.path, tried[column], self.names)} {_remedy(options[column])}{bare}")


def check_named(source: Records, files: Sequence[Fields], kept: Iterable[str] = ()) -> None:
    """Refuse a field that the recipe names and no record of the source's files has; usual names may be absent.

    Args:
        kept: columns that ``data.keep`` names.

    Raises:
        DataError: naming the field, and those that are there.
    """
    there = {name: None for file in files for name in file.names}
    for option in NAMED:
        name = getattr(source, option)
        if there and name != Records.model_fields[option].default and name not in there:
            raise DataError(f"{_absent(source.path, [name], there)} {_remedy(option)}")
    lost = [name for name in kept if there and name not in there]
    if lost:
        raise DataError(f"{_absent(source.path, lost[:1], there)} data.keep names it. Correct data.keep, or rename the field.")


def _absent(path: str, tried: Iterable[str], there: Iterable[str]) -> str:
    *others, last = (repr(name) for name in dict.fromkeys(tried))
    wanted = f"{', '.join(others)} or {last}" if others else last
    return f"no row of {path} has the field {wanted}. The fields are {_listed(there)}."


def _listed(there: Iterable[str]) -> str:
    names = [repr(name) for name in there]
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"{', '.join(names[:MAX_SHOWN])}{more}"


def _remedy(option: str) -> str:
    option, other = ("group", ", or in data.group") if option == "group" else (option, "")
    return f"Name the right one in data.source, {{kind: ..., path: ..., {option}: FIELD}}{other}, or rename the field."
