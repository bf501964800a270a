"""Run one query on a SQLite file that it can only read, within limits that are the same on every machine.

The file is opened with mode=ro and immutable=1: nothing is locked, written or created beside it. An authorizer allows
reading and those of SQLite's functions that give the same value each time; ``sql_dates`` refuses dates of now. Work is limited
by the instructions of SQLite's virtual machine, memory by the size of a value and of the result. One instruction may take long,
on long values: a query of a policy runs in a process that can be ended, which :func:`limit_memory` is for.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError
from ratchet.components.graders.sql_dates import Dates

Row = tuple[Any, ...]

INSTRUCTIONS = 1_000  # of the virtual machine, between two looks at the limits
LONGEST_VALUE = 1_000_000  # bytes of one text, blob or row
LONGEST_PATTERN = 1_000  # bytes of what LIKE and GLOB look for: their time is its length times the text's
MEMORY_MB = 512  # of SQLite, sorting and temporary tables included
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
MOST_BYTES = 64_000_000  # of one result
_FORBIDDEN = {"load_extension", "fts3_tokenizer"} | {
    "random",
    "randomblob",
    "current_date",
    "current_time",
    "current_timestamp",
}


class WrongQuery(Exception):  # noqa: N818 - the model's fault, not ours
    """A query that failed: it does not run, is not allowed, or takes more than its instructions."""


class SlowMachine(Exception):  # noqa: N818 - a fault of the machine
    """The wall clock ran out before the instructions did: nothing is known about the query."""


@dataclass(frozen=True)
class Limits:
    """Of one query. ``steps`` are instructions of SQLite's virtual machine; ``seconds`` is wall time."""

    steps: int
    seconds: float


def run_query(path: Path, query: str, rows: int, limits: Limits) -> list[Row]:
    """The result's first ``rows`` + 1 rows: one more than may be, so that the caller sees whether there are more.

    Raises:
        WrongQuery: the query failed.
        SlowMachine: it could not be finished in time.
        DataError: the file is not a database that can be read.
    """
    with _opened(path) as connection, closing(Dates(connection)) as dates:
        counter = _Counter(limits)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(counter.exceeded, INSTRUCTIONS)
        try:
            found = _fetched(connection.execute(query), rows + 1)
            if time.monotonic() > counter.end:  # an instruction that takes long is not interrupted
                raise SlowMachine(f"not finished after {limits.seconds:g} s")
            return found
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError, OverflowError) as error:
            if counter.late:
                raise SlowMachine(f"not finished after {limits.seconds:g} s") from error
            raise WrongQuery(counter.said or dates.said or f"{error}"[:200] or "out of memory") from error


def limit_memory() -> None:
    """Limit the memory of SQLite in this process, sorting and temporary tables included. Only a new process undoes it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA hard_heap_limit = {MEMORY_MB * 2**20}")


def _fetched(cursor: sqlite3.Cursor, most: int) -> list[Row]:
    found: list[Row] = []
    size = 0
    while len(found) < most and (row := cursor.fetchone()) is not None:
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if size > MOST_BYTES:
            raise WrongQuery(f"a result of more than {MOST_BYTES} bytes")
        found.append(row)
    return found


class _Counter:
    """Counts instructions; a query is interrupted when the count or the clock is exceeded."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.steps, self.late, self.said = limits, 0, False, ""
        self.end = time.monotonic() + limits.seconds

    def exceeded(self) -> bool:
        self.steps += INSTRUCTIONS
        if self.steps > self.limits.steps:
            self.said = f"more than {self.limits.steps} instructions"
        self.late = not self.said and time.monotonic() > self.end
        return bool(self.said) or self.late


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise DataError(f"{path} has changes in {log.name}, which are not read. Run PRAGMA wal_checkpoint(TRUNCATE) on it.")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
        with closing(connection):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.execute("PRAGMA temp_store = MEMORY")  # nothing on the disk, which would have no limit
            connection.text_factory = _text
            _declare(connection)
            yield connection
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read as a SQLite database: {error}. Give an existing, intact file.") from error


def _declare(connection: sqlite3.Connection) -> None:
    """Have SQLite declare its table functions of JSON, which an authorizer would see as a write to the schema.

    Those of pragmas and of the file's pages stay undeclared, and so refused.
    """
    for function in ("json_each", "json_tree"):
        with suppress(sqlite3.OperationalError):  # a table of the file has the name, or this SQLite has no JSON
            connection.execute(f"SELECT 1 FROM {function}('[]')")  # noqa: S608 - a name from above


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
