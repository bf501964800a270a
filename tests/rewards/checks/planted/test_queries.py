"""Mutants of queries by hand, and that only those with another result are wrong answers."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ratchet.components.graders.sql import Query
from ratchet.components.rewards.checks.planted.queries import (
    Results,
    added_distinct,
    dropped_where,
    plants,
    removed_distinct,
    turned_order,
)
from ratchet.components.rewards.checks.planted.texts import Case

ROWS = [("Oslo", 3, 1.5), ("Oslo", 3, 0.1), ("Rome", 5, 0.2)]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("CREATE TABLE sales (town TEXT, items INTEGER, price REAL)")
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", ROWS)
        connection.commit()
    return Results(Query("shop.sqlite", "{{item.answer}}"), tmp_path)


def case(query: str) -> Case:
    return Case({"answer": query}, query, query)


@pytest.mark.parametrize(
    ("query", "mutants"),
    [
        ("SELECT a FROM t WHERE b = 'WHERE' AND (c) GROUP BY a", ["SELECT a FROM t GROUP BY a"]),
        ("SELECT (SELECT max(a) FROM t WHERE x) FROM u WHERE y", ["SELECT (SELECT max(a) FROM t ) FROM u WHERE y",
                                                                   "SELECT (SELECT max(a) FROM t WHERE x) FROM u"]),
        ("SELECT a FROM t -- WHERE", []),
    ],
)  # fmt: skip
def test_a_where_is_dropped_up_to_the_next_clause(query: str, mutants: list[str]) -> None:
    assert list(dropped_where(query)) == mutants


@pytest.mark.parametrize(
    ("query", "mutants"),
    [
        ("SELECT a FROM t ORDER BY a, max(b, c) DESC LIMIT 2", ["SELECT a FROM t ORDER BY a DESC, max(b, c) ASC LIMIT 2"]),
        ("SELECT a FROM t ORDER BY a NULLS LAST", ["SELECT a FROM t ORDER BY a DESC NULLS LAST"]),
        ("SELECT rank() OVER (ORDER BY a) FROM t", ["SELECT rank() OVER (ORDER BY a DESC ) FROM t"]),
        ("SELECT a FROM t GROUP BY a", []),
    ],
)
def test_each_key_of_an_order_is_turned(query: str, mutants: list[str]) -> None:
    assert list(turned_order(query)) == mutants


def test_a_distinct_is_added_or_taken_away() -> None:
    assert list(added_distinct("SELECT a FROM t")) == ["SELECT DISTINCT a FROM t"]
    assert list(added_distinct("SELECT DISTINCT a FROM t")) == []
    assert list(removed_distinct("SELECT DISTINCT a FROM t")) == ["SELECT a FROM t"]
    assert list(removed_distinct("SELECT count(DISTINCT a) FROM t")) == ["SELECT count( a) FROM t"]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("SELECT items FROM sales WHERE town = 'Oslo'", {"the query without a WHERE", "the query with a DISTINCT added"}),
        ("SELECT items FROM sales WHERE town = 'Rome' OR 1", {"the query with a DISTINCT added"}),  # its WHERE keeps every row
        ("SELECT town, price FROM sales ORDER BY price", {"the query with its ORDER BY turned"}),
        ("SELECT town FROM sales WHERE price > 1 ORDER BY price", {"the query without a WHERE"}),  # one row, in any order
        ("SELECT DISTINCT town FROM sales", {"the query without its DISTINCT"}),
        ("SELECT max(price) FROM sales WHERE town = 'Oslo'", set()),  # it is Oslo's anyway
        ("SELECT nothing FROM nowhere WHERE x", set()),
    ],
)
def test_a_mutant_with_the_references_result_is_no_wrong_answer(results: Results, query: str, wrong: set[str]) -> None:
    found = {name: plant([case(query)])[0] for name, plant in plants(results).items()}
    assert {name for name, text in found.items() if text is not None} == wrong


def test_another_query_with_the_same_result_is_as_right(results: Results) -> None:
    reference = case("SELECT count(*) FROM sales WHERE town = 'Oslo'")
    assert results.same(reference, "SELECT 2")
    assert results.same(reference, "```sql\nSELECT 2.0\n```")
    assert not results.same(reference, "SELECT 1")
    assert not results.same(reference, "not a query")
    assert not results.same(case("SELECT town FROM sales ORDER BY price"), "SELECT town FROM sales ORDER BY items")


def test_the_last_digits_of_a_float_make_no_other_result(results: Results) -> None:
    assert results.same(case("SELECT 0.1 + 0.2"), "SELECT 0.3")
