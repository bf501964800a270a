"""Queries as texts: taken out of a completion, translated from another dialect, and read for a top-level ORDER BY."""

import re
from functools import lru_cache

LONGEST = 20_000  # characters of a query
_FENCED = re.compile(r"```(?:sql|sqlite|SQL)?[ \t]*\n(.*?)```", re.DOTALL)
TOKEN = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*(?:\]|\Z)|[A-Za-z_]\w*|\S", re.DOTALL
)


class QueryError(Exception):
    """A text that is not a query."""


def query_in(completion: str) -> str:
    """The query of a completion: of its one code fence, or else all of it.

    Raises:
        QueryError: if there are several fences, nothing, or too much.
    """
    fenced = _FENCED.findall(completion)
    if len(fenced) > 1:
        raise QueryError("more than one code fence")
    query: str = (fenced[0] if fenced else completion).strip()
    if not query or len(query) > LONGEST:
        raise QueryError("no query" if not query else f"a query of more than {LONGEST} characters")
    return query


def is_ordered(query: str) -> bool:
    """Whether the result's order is part of the query: an ORDER BY outside of every parenthesis."""
    depth, before = 0, ""
    for token in TOKEN.findall(query):
        word = token.upper()
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and word == "BY" and before == "ORDER":
            return True
        if not token.startswith(("--", "/*")):
            before = word
    return False


@lru_cache(maxsize=4096)
def for_sqlite(query: str, dialect: str | None) -> str:
    """The query in SQLite's dialect.

    Raises:
        QueryError: if it cannot be read in its own.
    """
    if dialect is None:
        return query
    import sqlglot

    try:
        statements = [one for one in sqlglot.parse(query, read=dialect) if one is not None]
        if len(statements) != 1:
            raise QueryError(f"{len(statements)} statements")
        return str(statements[0].sql(dialect="sqlite"))
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError) as error:
        raise QueryError(f"not {dialect}: {error}"[:300]) from error
