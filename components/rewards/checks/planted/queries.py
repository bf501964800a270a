"""Planted wrong answers to SQL: mutants of the reference whose result on the row's database is truly another.

A mutant drops a WHERE, turns an ORDER BY, or adds or takes away a DISTINCT. It is made from the query's words rather than from
a syntax tree, so that it is the same on every machine, whichever libraries are installed; one that does not run is left
out. So is one with the reference's result: an equivalent query is no wrong answer. Results are compared here by themselves,
exactly but for the last digits of floats, so that a grader's tolerance does not hide what it misses.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.components.errors import DataError
from ratchet.components.graders.sql import Query, database_path
from ratchet.components.graders.sql_run import SlowMachine, WrongQuery, run_query
from ratchet.components.graders.sql_text import TOKEN, QueryError, for_sqlite, is_ordered, query_in
from ratchet.components.rewards.checks.planted.texts import Case, Plant
from ratchet.components.storage.digests import digest_of
from ratchet.components.templates import parse_template

AFTER_ORDER = {"LIMIT", "OFFSET", "FETCH", "UNION", "EXCEPT", "INTERSECT", "ROWS", "RANGE", "GROUPS", ";"}
AFTER_WHERE = {"GROUP", "HAVING", "WINDOW", "QUALIFY", "ORDER"} | AFTER_ORDER
DIGITS = 9  # of a float that count


class Word(NamedTuple):
    """A token of a query with its place, and the parentheses around it."""

    upper: str
    start: int
    end: int
    depth: int


Mutate = Callable[[str], Iterator[str]]


class Results:
    """What queries give on the databases of rows."""

    def __init__(self, query: Query, root: Path) -> None:
        """
        Args:
            root: the directory that database paths are relative to.
        """
        self.query, self.root, self.place = query, root, parse_template(query.database)
        self._run = lru_cache(maxsize=1024)(self._result)

    def same(self, case: Case, text: str) -> bool:
        """Whether a text gives the result of the case's reference: by chance or by meaning, it is then no wrong answer."""
        expected, found = self._on(case, case.reference), self._on(case, text)
        return expected is not None and expected == found

    def mutant(self, case: Case, mutate: Mutate) -> str | None:
        """The first mutant of the reference that runs and gives another result."""
        expected = self._on(case, case.reference)
        for text in mutate(_text(case.reference)) if expected is not None else ():
            found = self._on(case, text)
            if found not in (None, expected):
                return text
        return None

    def _on(self, case: Case, text: str) -> str | None:
        """The digest of a text's result, as a sequence where the reference has an order, else as a bag."""
        try:
            found = self._run(database_path(self.place, case.row, self.root), text)
        except DataError:
            return None
        return found and found[0 if is_ordered(case.reference) else 1]

    def _result(self, path: Path, text: str) -> tuple[str, str] | None:
        """None if it does not run."""
        try:
            found = run_query(path, for_sqlite(query_in(text), self.query.dialect), self.query.max_rows, self.query.limits)
        except (WrongQuery, SlowMachine, QueryError):
            return None
        rows = [repr(tuple(map(_rounded, row))) for row in found]
        return digest_of(rows), digest_of(sorted(rows))


def plants(results: Results) -> dict[str, Plant]:
    """Wrong answers by name."""

    def mutated(mutate: Mutate) -> Plant:
        return lambda cases: [results.mutant(case, mutate) for case in cases]

    return {name: mutated(mutate) for name, mutate in MUTANTS.items()}


def dropped_where(query: str) -> Iterator[str]:
    """The query without one of its WHEREs."""
    words = words_of(query)
    for place, word in enumerate(words):
        if word.upper == "WHERE":
            yield _joined(query[: word.start], query[_end(words, place, AFTER_WHERE, len(query)) :])


def turned_order(query: str) -> Iterator[str]:
    """The query with the keys of one of its ORDER BYs in the other direction."""
    words = words_of(query)
    for place, word in enumerate(words[:-1]):
        if word.upper == "ORDER" and words[place + 1].upper == "BY":
            start, end = words[place + 1].end, _end(words, place, AFTER_ORDER, len(query))
            keys = [_turned(key) for key in _keys([w for w in words if start <= w.start < end], query, start, end)]
            yield _joined(f"{query[:start]} {', '.join(keys)}", query[end:])


def added_distinct(query: str) -> Iterator[str]:
    """The query with a DISTINCT after one of its SELECTs."""
    words = words_of(query)
    for word, following in pairwise(words):
        if word.upper == "SELECT" and following.upper not in ("DISTINCT", "ALL"):
            yield _joined(f"{query[: word.end]} DISTINCT", query[word.end :])


def removed_distinct(query: str) -> Iterator[str]:
    """The query without one of its DISTINCTs."""
    for word in words_of(query):
        if word.upper == "DISTINCT":
            yield _joined(query[: word.start], query[word.end :])


MUTANTS: dict[str, Mutate] = {
    "the query without a WHERE": dropped_where,
    "the query with its ORDER BY turned": turned_order,
    "the query with a DISTINCT added": added_distinct,
    "the query without its DISTINCT": removed_distinct,
}


def words_of(query: str) -> list[Word]:
    """The tokens of a query but comments; a quoted one is no keyword."""
    found, depth = [], 0
    for token in TOKEN.finditer(query):
        text = token[0]
        if text.startswith(("--", "/*")):
            continue
        depth -= text == ")"
        found.append(Word("" if text[0] in "'\"`[" else text.upper(), token.start(), token.end(), depth))
        depth += text == "("
    return found


def _end(words: Sequence[Word], place: int, stops: set[str], length: int) -> int:
    """Where the clause of the word at ``place`` ends: at the next clause of its depth, or at its closing parenthesis."""
    depth = words[place].depth
    after = (word for word in words[place + 1 :] if word.depth < depth or (word.depth == depth and word.upper in stops))
    return next((word.start for word in after), length)


def _keys(words: Sequence[Word], query: str, start: int, end: int) -> list[str]:
    depth = min((word.depth for word in words), default=0)
    commas = [word for word in words if word.upper == "," and word.depth == depth]
    return [
        query[first:last].strip()
        for first, last in zip([start, *(c.end for c in commas)], [*(c.start for c in commas), end], strict=True)
    ]


def _turned(key: str) -> str:
    words = words_of(key)
    direction = next((word for word in words if word.upper in ("ASC", "DESC") and word.depth == 0), None)
    if direction is None:
        nulls = next((word for word in words if word.upper == "NULLS"), None)
        return f"{key} DESC" if nulls is None else f"{key[: nulls.start]}DESC {key[nulls.start :]}"
    return key[: direction.start] + ("DESC" if direction.upper == "ASC" else "ASC") + key[direction.end :]


def _joined(before: str, after: str) -> str:
    return f"{before.rstrip()} {after.lstrip()}".strip()


def _text(reference: str) -> str:
    try:
        return query_in(reference)
    except QueryError:
        return ""


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else f"{value:.{DIGITS}g}"
