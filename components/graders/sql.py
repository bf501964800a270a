"""SQL by execution: the completion's query gives the same result as the reference's on the same SQLite file.

Rows are compared as a bag, so that a missing DISTINCT is noticed, and in order where the reference has an ORDER BY outside of
every parenthesis. Column names do not count. Numbers are compared with a tolerance; NULL equals NULL alone. A query that does
not run, is not allowed or runs too long is wrong; a reference that does not run, or gives no rows, judges nothing. Queries run
in the worker's process, which can be ended.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ratchet.components.errors import DataError, RecipeError
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.spaces import item_of, reference_of
from ratchet.components.graders.sql_run import Limits, Row, SlowMachine, WrongQuery, limit_memory, run_query
from ratchet.components.graders.sql_text import QueryError, for_sqlite, is_ordered, query_in
from ratchet.components.storage.digests import kept_digest
from ratchet.components.templates import AbsentError, Template, as_text, follow, parse_template

TIMEOUT = "timeout"
LARGEST_GROUP = 500  # rows that differ by numbers alone, up to which every pairing is looked for
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,127}")


@dataclass(frozen=True)
class Query:
    """What decides a judgement beside the row: where databases are, and how results are compared."""

    database: str
    reference: str
    dialect: str | None = None
    abs: float = 0.0
    rel: float = 1e-9
    steps: int = 50_000_000
    seconds: float = 30.0
    max_rows: int = 10_000

    @property
    def limits(self) -> Limits:
        return Limits(self.steps, self.seconds)


def rule(query: Query, root: Path) -> Callable[[str, Mapping[str, Any]], Grade]:
    """Passed if both queries give the same result.

    Args:
        root: the directory that database paths are relative to.
    """
    place, expected_of = parse_template(query.database), reference_of(query.reference)

    @lru_cache(maxsize=256)  # the samples of a prompt come together
    def expected_rows(path: Path, reference: str) -> tuple[Row, ...]:
        text = for_sqlite(query_in(reference), query.dialect)
        return tuple(run_query(path, text, query.max_rows, query.limits))

    def judge(completion: str, row: Mapping[str, Any]) -> Grade:
        reference = expected_of(row)
        try:
            path = database_path(place, row, root)
            rows = expected_rows(path, as_text(reference))
        except (DataError, WrongQuery, SlowMachine, QueryError) as error:
            return Grade(None, reason=f"the reference {as_text(reference)[:80]!r} cannot be used: {error}")
        if not 0 < len(rows) <= query.max_rows:
            size = f"more than {query.max_rows}" if rows else "no"
            return Grade(None, reason=f"the reference {as_text(reference)[:80]!r} gives {size} rows")
        return _judged(query, path, completion, rows, is_ordered(as_text(reference)))

    return judge


def serve(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """The adapter of ``worker``: one completion at a time, in a process that ends with its time."""
    limit_memory()
    judge = function(Query(**{**options, "seconds": math.inf}), Path.cwd())

    def answer(calls: list[dict[str, Any]]) -> list[Grade]:
        return [judge(call["completion"], call["row"]) for call in calls]

    return answer, False, {"protocol": "sql"}


def _judged(query: Query, path: Path, completion: str, expected: Sequence[Row], ordered: bool) -> Grade:
    try:
        text = for_sqlite(query_in(completion), query.dialect)
        found = run_query(path, text, len(expected), query.limits)
    except SlowMachine as error:
        return Grade(None, reason=str(error), fault=TIMEOUT)
    except (WrongQuery, QueryError) as error:
        return Grade(0.0, {"ran": 0.0}, passed=False, reason=str(error))
    right = same_result(expected, found, ordered, query)
    return Grade(float(right), {"ran": 1.0}, passed=right, reason="" if right else "another result")


def database_path(place: Template, row: Mapping[str, Any], root: Path) -> Path:
    """The file of a row's database. Names out of the data are names: no separator, no parent.

    Raises:
        DataError: if a value is not a name, or there is no such file.
    """
    names = []
    for path in place.paths:
        try:
            name = as_text(follow(path, {"item": item_of(row)}))
        except AbsentError as error:
            raise DataError(f"{error}. Add the column to the row.") from error
        if not _NAME.fullmatch(name):
            raise DataError(f"{name[:60]!r} is not a file's name. Use letters, digits, _, - and single dots.")
        names.append(name)
    found = root / (place.literals[0] + "".join(name + after for name, after in zip(names, place.literals[1:], strict=True)))
    if not found.is_file():
        raise DataError(f"there is no database {found}. Correct the row, or the grader's key database.")
    return found


def database_files(query: Query, root: Path) -> list[Path]:
    """The one database, or every file in the folder that a template's names are in.

    Raises:
        RecipeError: if there is none.
    """
    first, *others = parse_template(query.database).literals
    found = sorted((root / first[: first.rfind("/") + 1]).glob("*")) if others else [root / first]
    if not (files := [path for path in found if path.is_file()]):
        raise RecipeError(f"there is no database at {query.database!r} in {root}. Correct the grader's key database.")
    return files


def database_digests(query: Query, root: Path) -> dict[str, str]:
    """sha256 of each of :func:`database_files`, by path.

    Raises:
        RecipeError: if there is none.
    """
    files = database_files(query, root)
    return {path.relative_to(root).as_posix(): kept_digest(path) for path in files}


def same_result(expected: Sequence[Row], found: Sequence[Row], ordered: bool, query: Query) -> bool:
    """Whether two results are equal, as bags of rows, or as sequences."""
    if len(expected) != len(found) or len(expected[0]) != len(found[0]):
        return False
    if ordered:
        return all(_same_row(a, b, query) for a, b in zip(expected, found, strict=True))
    ours, theirs = _grouped(expected), _grouped(found)
    return ours.keys() == theirs.keys() and all(_same_bag(rows, theirs[key], query) for key, rows in ours.items())


def _same_row(expected: Row, found: Row, query: Query) -> bool:
    return all(map(lambda a, b: _same_value(a, b, query), expected, found))


def _same_value(expected: Any, found: Any, query: Query) -> bool:
    if isinstance(expected, (int, float)) and isinstance(found, (int, float)):
        near = math.isfinite(expected) and abs(expected - found) <= max(query.abs, query.rel * abs(expected))
        return expected == found or near
    return type(expected) is type(found) and bool(expected == found)


def _grouped(rows: Sequence[Row]) -> dict[Row, list[Row]]:
    """Rows by all that is not a number; what differs within a group are numbers, which have a tolerance."""
    groups: dict[Row, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple("number" if isinstance(v, (int, float)) else (type(v).__name__, v) for v in row)].append(row)
    return groups


def _same_bag(expected: Sequence[Row], found: Sequence[Row], query: Query) -> bool:
    """Whether the rows can be paired off. In sorted order they nearly always can; else every pairing is looked for."""
    if len(expected) != len(found):
        return False
    pairs = zip(sorted(expected, key=_numbers), sorted(found, key=_numbers), strict=True)
    if all(_same_row(a, b, query) for a, b in pairs):
        return True
    if len(expected) > LARGEST_GROUP or not (query.abs or query.rel):
        return False
    from scipy.optimize import linear_sum_assignment

    equal = np.array([[_same_row(a, b, query) for b in found] for a in expected], dtype=float)
    return bool(equal[linear_sum_assignment(equal, maximize=True)].sum() == len(expected))


def _numbers(row: Row) -> tuple[float, ...]:
    return tuple(v for v in row if isinstance(v, (int, float)))
