"""A path reaches SQLite whole, whatever is in it."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.components.storage.sqlite_files import sqlite_file, sqlite_url

ODD = ["a?b", "a #b", "a%41b", "a&b=c", "a;b", "a'b", 'a"b', "é", "a\\b", "a:b", "-a"]


@pytest.mark.parametrize("name", ODD)
def test_faults_the_database_is_where_its_path_says(tmp_path: Path, name: str) -> None:
    place = tmp_path / name / "ledger.db"
    place.parent.mkdir()
    url = sqlite_url(place)
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE one (a)"))
    assert sqlite3.connect(place).execute("SELECT name FROM sqlite_master").fetchall() == [("one",)]
    assert [path.name for path in place.parent.iterdir()] == ["ledger.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sqlite_file(url) == place


def test_a_plain_path_is_in_the_plain_form() -> None:
    assert sqlite_url(Path("/home/me/p 1/a.db")) == "sqlite:////home/me/p 1/a.db"
    assert sqlite_url(Path("/a?b/a.db"), "aiosqlite") == "sqlite+aiosqlite:///file:/a%3Fb/a.db?uri=true"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://user:pw@host/name"])
def test_what_is_not_a_file_has_none(url: str) -> None:
    assert sqlite_file(url) is None
