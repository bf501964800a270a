"""Ledgers of earlier releases are migrated, step by step and once; one of a later release is left as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.ledger import migrations
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.migrations import SCHEMA_VERSION, advance
from ratchet.components.ledger.slots import last_look
from ratchet.components.ledger.stops import ask_to_stop
from ratchet.components.ledger.tables import metadata, settings_table

RUNS_OF_2 = """
    CREATE TABLE runs (
        identity VARCHAR(64) NOT NULL PRIMARY KEY, model VARCHAR(64) NOT NULL, run_id VARCHAR(64) NOT NULL,
        status VARCHAR(20) NOT NULL, started VARCHAR(40) NOT NULL, finished VARCHAR(40), result TEXT);
    INSERT INTO runs VALUES ('identity', 'm', 'r1', 'promoted', 'then', 'later', '{}');
"""
PROMOTION_OF_7 = """
    INSERT INTO promotions VALUES ('m', 1, '1', NULL, 'w1', 'gate', 'v1', NULL, 'r1', '2026-01-01T00:00:00+00:00',
        '9b819cf109150f9e65fb52d4c8e28c8b662af34f69d5bbad85c09dc3bef27b0f');
    INSERT INTO leases VALUES ('m', 'me', 1, 0);
"""
LEASES_OF_8 = """
    DROP TABLE leases;
    CREATE TABLE leases (
        model VARCHAR(64) NOT NULL PRIMARY KEY, holder VARCHAR(64) NOT NULL, token INTEGER NOT NULL, expires FLOAT NOT NULL);
"""
OF_9 = "ALTER TABLE fold_items DROP COLUMN asked;"
OF_8 = OF_9 + (
    "ALTER TABLE gate_uses DROP COLUMN epoch_use; ALTER TABLE gate_uses DROP COLUMN alpha;"
    "ALTER TABLE runs DROP COLUMN sequence; ALTER TABLE slots DROP COLUMN sequence;" + LEASES_OF_8
)
RUNS_OF_8 = """
    INSERT INTO runs VALUES ('r1', 'i1', 'm', 'failed', '2026-01-03', NULL, NULL, NULL, NULL);
    INSERT INTO runs VALUES ('r2', 'i2', 'm', 'failed', '2026-01-01', NULL, NULL, NULL, NULL);
    INSERT INTO runs VALUES ('r3', 'i3', 'm', 'failed', '2026-01-02', NULL, NULL, NULL, NULL);
    INSERT INTO slots VALUES ('m', '1', 'r', 'i', NULL, 'promoted', 1, NULL, 'newest', 9, '2026-01-02');
    INSERT INTO slots VALUES ('m', '2', 'r', 'i', NULL, 'promoted', 1, NULL, 'oldest', 9, '2026-01-01');
"""
OF_7 = "ALTER TABLE promotions DROP COLUMN person; ALTER TABLE runs DROP COLUMN roles;" + OF_8
OF_6 = OF_7 + "DROP TABLE slots;"
OF_5 = "ALTER TABLE runs DROP COLUMN begun;" + OF_6
OF_4 = "DROP TABLE stops;" + OF_5
BECAME = {
    2: "DROP TABLE policies; DROP TABLE stops;" + OF_6 + "DROP TABLE runs;" + RUNS_OF_2,
    3: "DROP TABLE policies;" + OF_4,
    4: OF_4,
    5: OF_5,
    6: OF_6,
    7: OF_7,
    8: OF_8,
    9: OF_9,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def written_by(schema: int, file: Path) -> None:
    """A ledger as a release of that schema left it."""
    Ledger(f"sqlite:///{file}")
    number(file, schema)
    script(file, BECAME[schema])


def number(file: Path, schema: int) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE settings SET value = ? WHERE key = 'schema'", [str(schema)])


def script(file: Path, text: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(text)


def tables(file: Path) -> dict[str, str]:
    """Each table with its statement."""
    with closing(sqlite3.connect(file)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())


def columns(file: Path) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each table, its columns with type and whether null is a value."""
    inspector = sa.inspect(sa.create_engine(f"sqlite:///{file}"))
    found = {name: inspector.get_columns(name) for name in inspector.get_table_names()}
    return {name: [(one["name"], str(one["type"]), one["nullable"]) for one in every] for name, every in found.items()}


def schema_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT value FROM settings WHERE key = 'schema'").fetchone()[0])


@pytest.mark.parametrize("schema", sorted(migrations.MIGRATIONS))
def test_an_earlier_ledger_becomes_what_a_new_one_is_and_a_copy_of_it_stays(file: Path, tmp_path: Path, schema: int) -> None:
    written_by(schema, file)
    before, said = tables(file), list[str]()
    Ledger(f"sqlite:///{file}", say=said.append)
    Ledger(f"sqlite:///{tmp_path / 'new.db'}")
    assert schema_of(file) == str(SCHEMA_VERSION)
    assert columns(file) == columns(tmp_path / "new.db")
    copy = tmp_path / f"ledger.schema-{schema}.db"
    assert (tables(copy), schema_of(copy)) == (before, str(schema))
    assert said[:2] == [
        f"copied the ledger of schema {schema} to {copy}",
        f"migrating the ledger from schema {schema} to {schema + 1}",
    ]
    said.clear()
    Ledger(f"sqlite:///{file}", say=said.append)
    assert said == []


def test_a_run_of_an_earlier_ledger_can_be_stopped(file: Path) -> None:
    written_by(4, file)
    script(file, "INSERT INTO claims VALUES ('i', 1, 1, 'holder', 'here', 300, 0)")
    script(file, "INSERT INTO runs VALUES ('r1', 'i', 'm', 'running', 'then', NULL, NULL)")
    assert ask_to_stop(Ledger(f"sqlite:///{file}"), "r1", "ann").holder == "holder"


def test_promotions_of_an_earlier_ledger_stay_and_the_next_has_a_person(file: Path) -> None:
    written_by(7, file)
    script(file, PROMOTION_OF_7)
    ledger = Ledger(f"sqlite:///{file}")
    ledger.promote("m", Promotion(2, "2", "1", "w2", "override", None, "why", "r2", "then", person="ann"), token=1)
    assert [(one.version, one.person) for one in ledger.history("m")] == [("1", None), ("2", "ann")]


def test_runs_and_slots_of_an_earlier_ledger_are_in_the_order_of_their_times(file: Path) -> None:
    written_by(8, file)
    script(file, RUNS_OF_8)
    ledger = Ledger(f"sqlite:///{file}")
    assert [row["run_id"] for row in ledger.latest_runs()] == ["r1", "r3", "r2"]
    assert last_look(ledger, "m") == ("newest", 9)
    ledger.begin_run("i4", "m", "r4")
    assert ledger.latest_runs(1)[0]["run_id"] == "r4"


def test_a_lease_of_an_earlier_ledger_is_free_and_its_token_stays(file: Path) -> None:
    written_by(8, file)
    script(file, "INSERT INTO leases VALUES ('m', 'me', 6, 1e12)")
    with promotion_lease(Ledger(f"sqlite:///{file}"), "m") as token:
        assert token == 7


def test_faults_a_ledger_of_a_later_release_is_left_as_it_is(file: Path) -> None:
    written_by(4, file)
    script(file, "DROP TABLE runs; CREATE TABLE runs_of_later (x);")
    number(file, SCHEMA_VERSION + 1)
    before = file.read_bytes()
    with pytest.raises(
        RegistryError,
        match=rf"schema {SCHEMA_VERSION + 1}, of a later release.*Nothing was read or changed\. Upgrade: pip install",
    ):
        Ledger(f"sqlite:///{file}")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("UPDATE settings SET value = '1'", "schema 1; this release migrates schema 2 and later"),
        ("UPDATE settings SET value = 'x'", "no version of its schema"),
        ("DELETE FROM settings", "no version of its schema"),
        ("DROP TABLE settings", "no version of its schema"),
    ],
)
def test_faults_a_ledger_whose_schema_nobody_knows(file: Path, change: str, cause: str) -> None:
    written_by(4, file)
    script(file, change)
    with pytest.raises(RegistryError, match=cause):
        Ledger(f"sqlite:///{file}")


def test_faults_a_step_that_fails_leaves_the_ledger_and_its_number(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(connection: sa.Connection) -> None:
        connection.execute(sa.text("DROP TABLE runs"))
        raise ZeroDivisionError

    written_by(4, file)
    before = tables(file)
    monkeypatch.setitem(migrations.MIGRATIONS, 4, fails)
    with pytest.raises(ZeroDivisionError):
        Ledger(f"sqlite:///{file}")
    assert (tables(file), schema_of(file)) == (before, "4")
    monkeypatch.undo()
    Ledger(f"sqlite:///{file}")
    assert schema_of(file) == str(SCHEMA_VERSION)


def test_faults_a_ledger_that_cannot_be_copied_is_not_migrated(file: Path) -> None:
    written_by(4, file)
    (file.parent / "ledger.schema-4.db").mkdir()
    with pytest.raises(RegistryError, match=r"cannot copy the ledger to .*ledger\.schema-4\.db.*the ledger is unchanged"):
        Ledger(f"sqlite:///{file}")
    assert (schema_of(file), "stops" in tables(file)) == ("4", False)


def test_of_two_processes_one_takes_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a transaction does not exclude another (PostgreSQL), the number was read before the other process changed it."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(settings_table.insert().values(key="schema", value=str(SCHEMA_VERSION)))
        monkeypatch.setattr(migrations, "schema_version", lambda _: 4)
        monkeypatch.setitem(migrations.MIGRATIONS, 4, lambda _: pytest.fail("a second time"))
        assert not advance(connection, lambda _: None)
