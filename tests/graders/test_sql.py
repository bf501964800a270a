"""SQL by execution on a small shop: right and wrong queries, order, tolerance, and everything that a query may not do."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import Grade, Grader
from ratchet.components.graders.sql import Query, database_digests, rule, same_result
from ratchet.components.graders.sql_run import Limits, SlowMachine, run_query
from ratchet.components.graders.sql_text import is_ordered
from ratchet.components.recipe import Sql

SHOP = """
CREATE TABLE orders (id INTEGER, town TEXT, total REAL, note TEXT);
INSERT INTO orders VALUES (1, 'Oslo', 10.5, NULL), (2, 'Oslo', 4.5, 'gift'), (3, 'Bergen', 7, NULL), (4, 'Bergen', 7, '');
"""
TOTALS = "SELECT town, sum(total) FROM orders GROUP BY town"
MANY = f"SELECT count(*) FROM {', '.join(f'orders o{n}' for n in range(12))}"  # noqa: S608 - 4^12 rows
FLOOD = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000), "
    "f(h) AS {} (SELECT hex(zeroblob(400000 + i)) FROM n) SELECT {}"
)
LOOP = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dbs").mkdir()
    with closing(sqlite3.connect(tmp_path / "dbs" / "shop.sqlite")) as shop:
        shop.executescript(SHOP)
    return tmp_path


def judged(root: Path, completion: str, reference: Any = TOTALS, db: str = "shop", **options: Any) -> Grade:
    query = Query("dbs/{{item.db}}.sqlite", "{{item.sql}}", steps=3_000_000, seconds=20.0, **options)
    return rule(query, root)(completion, {"item": {"db": db, "sql": reference}})


@pytest.mark.parametrize(
    "completion",
    [
        TOTALS,
        TOTALS + ";",
        f"```sql\n{TOTALS}\n```",
        f"The totals:\n```\n{TOTALS};\n```\nDone.",
        "SELECT town AS t, sum(total) AS s FROM orders GROUP BY t ORDER BY s",  # the order is not part of the reference
        "SELECT town, avg(total) * count(*) FROM orders GROUP BY town",
        "SELECT 'Bergen', 14 UNION SELECT 'Oslo', 15.0",
    ],
)
def test_the_same_result_is_right_however_it_is_asked_for(root: Path, completion: str) -> None:
    assert judged(root, completion).passed


@pytest.mark.parametrize(
    "completion",
    [
        "SELECT sum(total), town FROM orders GROUP BY town",
        "SELECT town, sum(total) FROM orders WHERE id < 4 GROUP BY town",
        "SELECT town, sum(total), 1 FROM orders GROUP BY town",
        "SELECT town, total FROM orders",
        f"{TOTALS} LIMIT 1",
        f"{TOTALS} UNION ALL {TOTALS}",
        "SELECT 'Bergen', '14' UNION SELECT 'Oslo', '15.0'",  # texts are not numbers
    ],
)
def test_another_result_is_wrong(root: Path, completion: str) -> None:
    grade = judged(root, completion)
    assert (grade.score, grade.passed, grade.parts) == (0.0, False, {"ran": 1.0})


def test_rows_are_a_bag_in_which_repetition_counts(root: Path) -> None:
    assert judged(root, "SELECT town FROM orders ORDER BY id DESC", "SELECT town FROM orders").passed
    assert not judged(root, "SELECT DISTINCT town FROM orders", "SELECT town FROM orders").passed


def test_order_counts_where_the_reference_orders(root: Path) -> None:
    ordered = "SELECT id FROM orders ORDER BY total, id"  # 4.5; 7, 7; 10.5
    assert judged(root, "SELECT id FROM orders ORDER BY total ASC, id ASC", ordered).passed
    assert not judged(root, "SELECT id FROM orders ORDER BY total DESC, id", ordered).passed


def test_null_is_neither_empty_nor_zero(root: Path) -> None:
    notes = "SELECT id, note FROM orders"
    assert judged(root, "SELECT id, nullif(note, 'x') FROM orders", notes).passed
    assert not judged(root, "SELECT id, coalesce(note, '') FROM orders", notes).passed


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("select a from t order by a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'order by' FROM t -- ORDER BY a", False),
        ("SELECT [order by] FROM t /* ORDER BY a */", False),
        ('SELECT "a""order by" FROM t ORDER /* so */ BY 1', True),
        ("SELECT a FROM t GROUP BY a", False),
    ],
)
def test_an_order_by_outside_of_every_parenthesis_is_found(query: str, ordered: bool) -> None:
    assert is_ordered(query) is ordered


def test_no_query_takes_long() -> None:
    start = process_time()
    assert not is_ordered("[" * 2**18)
    assert process_time() - start < 5


def test_numbers_have_a_tolerance_in_bags_too() -> None:
    near = Query("d", "r", abs=0.1, rel=0.0)
    assert same_result([(1.0, 5.0), (1.05, 7.0)], [(1.04, 7.0), (1.01, 5.0)], False, near)
    # sorted order pairs 1.00 with 0.98 and 5 with 7; only the other pairing holds
    assert same_result([(1.00, 5), (1.05, 7)], [(0.98, 7), (1.05, 5)], False, near)
    assert not same_result([(1.0,), (2.0,)], [(1.0,), (1.0,)], False, near)
    assert not same_result([(1.0,)], [(1.2,)], False, near)
    assert same_result([(3,)], [(3.0,)], True, Query("d", "r", rel=0.0))


@pytest.mark.parametrize("reference", ["SELECT 9e999", "SELECT -9e999", "SELECT total * 9e999 FROM orders"])
def test_only_infinity_is_near_infinity(root: Path, reference: str) -> None:
    assert judged(root, reference, reference).passed
    assert not judged(root, reference.replace("9e999", "7.0"), reference).passed


@pytest.mark.parametrize(
    "completion",
    [
        "SELECT value FROM json_each('[4, 5]')",
        "SELECT json_each.value FROM json_each('[4, 5]')",
        "SELECT atom FROM json_tree('{\"a\": [4, 5]}') WHERE atom IS NOT NULL",
        "SELECT b.value FROM json_each('[[4], [5]]') AS a, json_each(a.value) AS b",
    ],
)
def test_the_table_functions_of_json_can_be_read(root: Path, completion: str) -> None:
    assert judged(root, completion, "SELECT 4 UNION SELECT 5").passed


def test_a_table_with_the_name_of_such_a_function_is_read_as_a_table(root: Path) -> None:
    with closing(sqlite3.connect(root / "dbs" / "own.sqlite")) as own:
        own.executescript("CREATE TABLE json_each (value); INSERT INTO json_each VALUES (3)")
    assert judged(root, "SELECT value FROM json_each", "SELECT 3", "own").passed


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "I do not know.",
        "SELECT",
        "SELECT missing FROM orders",
        f"{TOTALS}; {TOTALS}",
        f"```sql\n{TOTALS}\n```\n```sql\n{TOTALS}\n```",
        "SELECT '" + "x" * 30_000 + "'",
        "\x00SELECT 1",
    ],
)
def test_what_is_not_one_query_is_wrong(root: Path, completion: str) -> None:
    grade = judged(root, completion)
    assert (grade.score, grade.passed, grade.fault) == (0.0, False, None)
    assert grade.reason


@pytest.mark.parametrize(
    "completion",
    [
        "DELETE FROM orders",
        "UPDATE orders SET total = 0 RETURNING town, total",
        "INSERT INTO orders VALUES (5, 'Oslo', 1, '')",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "DROP TABLE orders",
        "ATTACH 'other.sqlite' AS other",
        "VACUUM INTO 'copy.sqlite'",
        "PRAGMA writable_schema = 1",
        "PRAGMA table_info(orders)",
        "SELECT * FROM pragma_database_list",
        "SELECT t.name FROM json_each('[1]'), pragma_table_info('orders') AS t",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('libc')",
        "SELECT random()",
        "SELECT current_timestamp",
        "SELECT date()",
        "SELECT date('now')",
        "SELECT time('n' || 'OW')",
        "SELECT datetime(x'6e6f77')",
        "SELECT julianday('now', '-1 day')",
        "SELECT unixepoch('now')",
        "SELECT strftime('%Y')",
        "SELECT strftime('%s', 'now')",
        "SELECT id FROM orders WHERE date(note) IS NULL AND date('now') > '2020-01-01'",
        "SELECT datetime('2020-01-01', 'localtime')",
        "ANALYZE",
    ],
)
def test_sql_faults_a_query_that_writes_attaches_or_cannot_be_repeated_is_wrong(root: Path, completion: str) -> None:
    before = sorted((path.name, path.read_bytes()) for path in root.rglob("*") if path.is_file())
    grade = judged(root, completion)
    assert (grade.score, grade.parts) == (0.0, {"ran": 0.0})
    assert "not authorized" in grade.reason or "authoriz" in grade.reason or "prohibited" in grade.reason, grade.reason
    assert sorted((path.name, path.read_bytes()) for path in root.rglob("*") if path.is_file()) == before


DATES = """
SELECT date('2024-02-28', '+2 days'), time('12:00', '+90 minutes'), datetime(0, 'unixepoch'), julianday('2000-01-01 12:00'),
       unixepoch('1970-01-02'), strftime('%Y-%j', '2024-03-01'), date(NULL), date('no date'), date(2451545), strftime('now', 0)
"""


def test_dates_that_do_not_depend_on_the_clock_have_sqlites_values(root: Path) -> None:
    known = ("2024-03-01", "13:30:00", "1970-01-01 00:00:00", 2451545.0, 86400, "2024-061", None, None, "2000-01-01", "now")
    assert run_query(root / "dbs" / "shop.sqlite", DATES, 1, Limits(10**6, 20.0)) == [known]


def test_a_date_of_each_row_is_computed_in_time(root: Path) -> None:
    days = f"{LOOP.format('i, date(2440587.5 + i)')} LIMIT 20000"
    start = time.monotonic()
    assert run_query(root / "dbs" / "shop.sqlite", days, 20_000, Limits(10**7, 20.0))[-1] == (20_000, "2024-10-04")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (LOOP.format("count(*)"), "more than 3000000 instructions"),
        ("SELECT zeroblob(100000000)", "too big"),
        ("SELECT note LIKE '%' || hex(zeroblob(600)) FROM orders", "pattern too complex"),
        (LOOP.format("zeroblob(900000)"), "another result"),  # cut after one row more than the reference has
        (LOOP.format("group_concat(hex(zeroblob(1000)))"), "instructions"),
        (MANY, "instructions"),
    ],
)  # fmt: skip
def test_sql_faults_loops_and_floods_end_and_are_wrong(root: Path, completion: str, reason: str) -> None:
    start = time.monotonic()
    grade = judged(root, completion)
    assert (grade.score, grade.fault) == (0.0, None)
    assert reason in grade.reason
    assert time.monotonic() - start < 10


def test_sql_faults_a_million_rows_are_not_read(root: Path) -> None:
    grade = judged(root, f"{LOOP.format('i')} LIMIT 1000000")
    assert (grade.score, grade.reason) == (0.0, "another result")


HOG = "instr(hex(zeroblob(400000)), hex(zeroblob(200000+{}))||'1')"  # one instruction of seconds


@pytest.fixture
def grader(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Grader]:
    """A grader as recipes have it, by its seconds."""
    monkeypatch.chdir(root)
    return lambda seconds: build_grader(Sql(type="sql", database="dbs/shop.sqlite", seconds=seconds))


def graded(grader: Grader, *completions: str) -> list[Grade]:
    return grader([""] * len(completions), completions, [{"answer": TOTALS}] * len(completions))


def test_sql_faults_one_instruction_cannot_outlast_the_clock(grader: Callable[[float], Grader]) -> None:
    start = time.monotonic()
    right, hog, again = graded(grader(2.0), TOTALS, f"SELECT {' + '.join(map(HOG.format, range(4)))}", TOTALS)
    assert time.monotonic() - start < 15  # 2 s, and a process started twice; the query takes a minute
    assert (right.passed, right.parts, again.passed) == (True, {"ran": 1.0}, True)
    assert (hog.score, hog.fault) == (None, "timeout")


@pytest.mark.parametrize(
    "query", [FLOOD.format("", "h FROM f ORDER BY h"), FLOOD.format("MATERIALIZED", "count(*) FROM f, f g")]
)
def test_sql_faults_memory_has_a_limit_and_nothing_is_written(grader: Callable[[float], Grader], query: str) -> None:
    flooded, right = graded(grader(60.0), query, TOTALS)
    assert (flooded.score, flooded.reason, flooded.fault) == (0.0, "out of memory", None)
    assert right.passed


def test_a_result_that_comes_too_late_is_not_one(root: Path) -> None:
    with pytest.raises(SlowMachine, match=r"not finished after 0\.05 s"):
        run_query(
            root / "dbs" / "shop.sqlite",
            "SELECT instr(hex(zeroblob(80000)), hex(zeroblob(40000)) || '1')",
            1,
            Limits(10**9, 0.05),
        )


def test_a_machine_that_is_too_slow_is_a_fault_and_not_a_wrong_answer(root: Path) -> None:
    slow = Query("dbs/shop.sqlite", "{{item.answer}}", steps=10**15, seconds=0.05)
    grade = rule(slow, root)(LOOP.format("count(*)"), {"answer": "SELECT 1"})
    assert (grade.score, grade.fault) == (None, "timeout")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("SELECT missing FROM orders", "cannot be used: no such column: missing"),
        ("SELECT id FROM orders WHERE id > 9", "gives no rows"),
        ("DELETE FROM orders", "cannot be used: not authorized"),
        (f"{LOOP.format('i')} LIMIT 10002", "gives more than 10000 rows"),
        (None, "cannot be used"),
        ("", "cannot be used: no query"),
    ],
)
def test_sql_faults_a_reference_that_fails_or_gives_nothing_judges_nothing(root: Path, reference: Any, reason: str) -> None:
    grade = judged(root, TOTALS, reference)
    assert (grade.score, grade.fault) == (None, None)
    assert reason in grade.reason


@pytest.mark.parametrize("name", ["../dbs/shop", "a/b", "..", "", "shop;x", "none", "/etc/passwd"])
def test_sql_faults_a_databases_name_cannot_leave_its_folder(root: Path, name: str) -> None:
    grade = judged(root, TOTALS, db=name)
    assert grade.score is None
    assert "is not a file's name" in grade.reason or "there is no database" in grade.reason


def test_sql_faults_a_file_that_is_no_database_or_has_an_unread_log(root: Path) -> None:
    (root / "dbs" / "text.sqlite").write_text("no database" * 500)
    assert "cannot be read as a SQLite database" in judged(root, TOTALS, db="text").reason
    (root / "dbs" / "shop.sqlite-wal").write_bytes(b"x")
    assert "wal_checkpoint" in judged(root, TOTALS).reason


def test_the_databases_bytes_are_part_of_the_digest(root: Path) -> None:
    query = Query("dbs/{{item.db}}.sqlite", "{{item.sql}}")
    before = database_digests(query, root)
    assert list(before) == ["dbs/shop.sqlite"]
    (root / "dbs" / "more.sqlite").write_bytes(b"")
    assert sorted(database_digests(query, root)) == ["dbs/more.sqlite", "dbs/shop.sqlite"]
    assert database_digests(Query("dbs/shop.sqlite", "{{item.sql}}"), root) == before
    with pytest.raises(RecipeError, match=r"there is no database at 'dbs/none\.sqlite'"):
        database_digests(Query("dbs/none.sqlite", "{{item.sql}}"), root)


def test_another_dialect_is_translated(root: Path) -> None:
    pytest.importorskip("sqlglot", reason="the extra sql is not installed")
    completion = "SELECT town FROM orders WHERE note ILIKE 'GIFT' LIMIT 1"
    assert judged(root, completion, "SELECT 'Oslo'", dialect="postgres").passed
    assert not judged(root, "SELECT FROM WHERE (", "SELECT 'Oslo'", dialect="postgres").passed
    assert not judged(root, "SELECT 'Oslo'; SELECT 1", "SELECT 'Oslo'", dialect="postgres").passed
