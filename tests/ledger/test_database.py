"""A database that is locked, damaged or of another schema is refused, and tells nothing that is sealed."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from ratchet.components.errors import RegistryError
from ratchet.components.ledger import engine
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import promote
from ratchet.components.ledger.tables import retired_folds
from tests.ledger.fakes import Registry, count_use, promoting


def test_the_database_waits_for_the_disk(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_locked_database_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_SECONDS", 0.2)
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RegistryError, match="database is locked"):
        count_use(ledger, "m", "f", "c", "i", "rules")
    holder.close()


def test_runs_of_schema_2_are_kept_and_no_longer_replaced(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            UPDATE settings SET value = '2' WHERE key = 'schema';
            DROP TABLE runs;
            CREATE TABLE runs (
                identity VARCHAR(64) NOT NULL PRIMARY KEY, model VARCHAR(64) NOT NULL, run_id VARCHAR(64) NOT NULL,
                status VARCHAR(20) NOT NULL, started VARCHAR(40) NOT NULL, finished VARCHAR(40), result TEXT);
            INSERT INTO runs VALUES ('identity', 'm', 'r1', 'promoted', 'then', 'later', '{}');
            """
        )
    ledger = Ledger(f"sqlite:///{path}")
    ledger.begin_run("identity", "m", "r2")
    rows = Ledger(f"sqlite:///{path}").latest_runs()
    assert {row["run_id"]: (row["identity"], row["status"], row["finished"]) for row in rows} == {
        "r1": ("identity", "promoted", "later"), "r2": ("identity", "running", None),
    }  # fmt: skip


def test_faults_a_policy_that_schema_3_knew_by_its_weights_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    registry = Registry()
    old = Ledger(f"sqlite:///{path}")
    promote(old, registry, "m", promoting("weights"), expected=0, version="1", run_id="r")
    with sqlite3.connect(path) as connection:
        connection.executescript("UPDATE settings SET value = '3' WHERE key = 'schema'; DROP TABLE policies;")
    ledger = Ledger(f"sqlite:///{path}")
    for _ in range(2):
        ledger.identify("m", "weights", "policy")
    ledger.identify("other", "weights", "another")
    champion = ledger.champion("m")
    assert champion is not None
    assert (champion.weights, champion.version) == ("policy", "1")
    row = promote(ledger, registry, "m", promoting("next"), expected=1, version="2", run_id="r")
    assert [one.weights for one in ledger.history("m")] == ["policy", "next"]  # and the chain holds
    assert row.previous == "1"


def test_an_error_of_the_database_does_not_print_what_was_sealed() -> None:
    ledger = Ledger("sqlite:///:memory:")
    row = {"model": "m", "fold_digest": "f", "reason": "sealed 0.0123", "at": "now"}
    with pytest.raises(IntegrityError) as raised, ledger.transaction() as connection:
        connection.execute(retired_folds.insert(), [row, row])
    assert "0.0123" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql:/me:secret@host/db", "RATCHET_LEDGER_URL is not the URL of a database"),
        ("sqlite://me:secret@host:sec/db", "RATCHET_LEDGER_URL is not the URL of a database"),
        ("", "RATCHET_LEDGER_URL is not the URL of a database"),
        ("postgresql+nothing://me:secret@host/db", "no driver for the ledger's database"),
        ("mysql+pymysql://me:secret@host/db", "the ledger cannot be in mysql: .* only in SQLite and PostgreSQL"),
        ("cockroachdb://me:secret@host/db", "the ledger cannot be in cockroachdb"),
    ],
)
def test_faults_of_the_ledgers_url_name_its_variable_and_not_its_password(url: str, cause: str) -> None:
    with pytest.raises(RegistryError, match=cause) as raised:
        Ledger(url)
    assert "RATCHET_LEDGER_URL" in str(raised.value)
    assert "sec" not in str(raised.value)


def test_faults_of_the_ledgers_folder_name_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match=r"folder cannot be made.*file.*RATCHET_HOME"):
        Ledger(f"sqlite:///{tmp_path}/file/ledger.db")
