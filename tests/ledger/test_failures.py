"""Each failure of a database is called by its cause; only a damaged file is to be restored from a backup."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ratchet.components.errors import LedgerUnavailableError, RegistryError
from ratchet.components.ledger.failures import explained
from ratchet.components.ledger.ledger import Ledger
from tests.ledger.fakes import count_use

PLACE = "postgresql+psycopg://me:***@host/db"


def told(cause: BaseException) -> RegistryError:
    return explained(DBAPIError.instance("", None, cause, psycopg.Error), PLACE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "what", "passes"),
    [
        (errors.InvalidPassword("no"), "refuses the login", False),
        (errors.InvalidCatalogName("no"), "does not exist", False),
        (errors.InsufficientPrivilege("no"), "denies its user a right", False),
        (errors.ReadOnlySqlTransaction("no"), "is read-only", True),
        (errors.DiskFull("no"), "has no space left", True),
        (errors.TooManyConnections("no"), "accepts no further connection", True),
        (errors.AdminShutdown("no"), "cannot be reached", True),
        (errors.ConnectionFailure("no"), "cannot be reached", True),
        (errors.SerializationFailure("no"), "is locked", True),
        (errors.LockNotAvailable("no"), "is locked", True),
        (errors.IdleInTransactionSessionTimeout("no"), "is locked", True),
        (errors.DatabaseDropped("no"), "does not exist", False),
        (errors.UndefinedTable("no"), "failed", False),
        # While it connects, psycopg knows the server's message alone.
        (psycopg.OperationalError('FATAL:  password authentication failed for user "me"'), "refuses the login", False),
        (psycopg.OperationalError('FATAL:  role "me" does not exist'), "refuses the login", False),
        (psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "10.0.0.1"'), "refuses the login", False),
        (psycopg.OperationalError('FATAL:  database "db" does not exist'), "does not exist", False),
        (psycopg.OperationalError('FATAL:  permission denied for database "db"'), "denies its user a right", False),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "accepts no further connection", True),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), "cannot be reached", True),
        (psycopg.OperationalError("connection failed: Connection refused"), "cannot be reached", True),
        (errors.ConnectionTimeout("connection timeout expired"), "cannot be reached", True),
        (errors.OutOfMemory("out of shared memory"), "failed", False),
        (psycopg.ProgrammingError('invalid connection option "foo"'), "cannot be opened", False),
        (psycopg.OperationalError('connection is bad: invalid sslmode value: "x"'), "cannot be opened", False),
    ],
)
def test_a_failure_of_postgresql_has_its_cause(cause: BaseException, what: str, passes: bool) -> None:
    error = told(cause)
    assert str(error).startswith(f"the ledger {PLACE} {what}")
    assert str(error).endswith(".")
    assert isinstance(error, LedgerUnavailableError) == passes
    assert "backup" not in str(error)


def test_a_damaged_database_of_postgresql_is_called_damaged() -> None:
    assert "is damaged" in str(told(errors.DataCorrupted("no")))


def test_a_message_is_one_line_without_secrets_and_of_bounded_length() -> None:
    error = str(told(psycopg.OperationalError(f"failed:\n\tpostgresql://me:secret@host/db?password=hidden {'x' * 9000}")))
    assert "secret" not in error
    assert "hidden" not in error
    assert "\n" not in error
    assert len(error) < 1000


def test_a_failure_without_a_database_behind_it_is_told_as_it_is() -> None:
    error = explained(PoolTimeout("no connection left in the pool"), PLACE)
    assert "failed: no connection left in the pool" in str(error)
    assert not isinstance(error, LedgerUnavailableError)


def test_a_damaged_file_is_restored_from_a_backup(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is not a database, but it is long enough to be read as one" * 20)
    with pytest.raises(RegistryError, match=r"ledger\.db is damaged.*Restore it from a backup"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_file_that_is_a_folder_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"cannot be opened: unable to open database file\. Make the file") as raised:
        Ledger(f"sqlite:///{tmp_path}")
    assert not isinstance(raised.value, LedgerUnavailableError)


def test_a_file_that_is_read_only_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}")
    with pytest.raises(LedgerUnavailableError, match=r"is read-only: attempt to write a readonly database.*make file"):
        Ledger(f"sqlite:///file:{path}?mode=ro&uri=true").begin_run("i", "m", "r")


def test_a_full_disk_is_named(ledger_of_a_few_pages: Ledger) -> None:
    with pytest.raises(LedgerUnavailableError, match=r"has no space left: database or disk is full\. Free"):
        count_use(ledger_of_a_few_pages, "m", "f", "c", "i", "rules", "x" * 1_000_000)


@pytest.fixture
def ledger_of_a_few_pages(tmp_path: Path) -> Ledger:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=50")
    return ledger


def test_an_error_of_sqlite_without_a_code_is_still_its_own() -> None:
    error = explained(OperationalError("", None, sqlite3.OperationalError("no such table: runs")), "sqlite:///x.db")
    assert "no such table: runs" in str(error)
