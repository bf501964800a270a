"""The shop's database: every question has an answer of its own, so that the result tells queries apart."""

import sqlite3
from contextlib import closing
from pathlib import Path

from ratchet.components.data.examples import generate
from ratchet.components.scaffold.templates.shop_database import RECORDS, database, records


def test_the_database_holds_the_records(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").write_bytes(database())
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as shop:
        found = {table: shop.execute(f"SELECT town, price FROM {table}").fetchall() for table in records()}  # noqa: S608
    assert found == records()
    assert {len(rows) for rows in found.values()} == {5 * RECORDS}  # of five towns


def test_no_two_questions_have_the_same_answer(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").write_bytes(database())
    queries = {row["answer"] for row in generate("shop", demo_noise=0.0, seed=1)}
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as shop:
        answers = {shop.execute(query).fetchone() for query in queries}
    assert len(answers) == len(queries) == 100  # of 4 measures, 5 tables and 5 towns
