"""The database under the ledger: transactions, the fence that a run's decisions pass, and the time.

SQLite runs with ``synchronous=FULL``, and a transaction begins IMMEDIATE: no other process writes between its reads and writes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, OperationalError, SQLAlchemyError

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.migrations import advance
from ratchet.components.sqlite_files import sqlite_file

LOCK_TIMEOUT_SECONDS = 20


class Clock(Protocol):
    """The part of :mod:`time` that a simulation can replace."""

    def time(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Database:
    """A SQLite file or, by its URL, another database."""

    def __init__(self, url: str, clock: Clock = time, say: Callable[[str], None] = lambda _: None) -> None:
        """A database of an earlier release is migrated.

        Args:
            say: called with what a migration does.

        Raises:
            RegistryError: if the database cannot be opened or migrated, or is of a later release.
        """
        self.clock = clock
        self.fence: Callable[[sa.Connection], None] = lambda _: None  # a run's claim sets this check
        self.engine = _engine(url)
        self.url = self.engine.url
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        current = False
        while not current:
            with self.transaction() as connection:
                current = advance(connection, say)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All of the block, or none of it.

        Raises:
            RegistryError: if the database is locked, out of reach or damaged.
        """
        place = self.url.render_as_string(hide_password=True)
        try:
            with self.engine.begin() as connection:
                yield connection
        except OperationalError as error:
            remedy = "Close the program that locks it, or free disk space, and run again."
            raise RegistryError(f"the ledger {place} cannot be used: {error.orig}. {remedy}") from error
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise RegistryError(f"the ledger {place} is damaged: {error}. Restore it from a backup.") from error

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        """A transaction that passes the fence first: a run that lost its claim cannot decide anything.

        The check and the write are one transaction: a process that checked before it could be paused in between, lose its
        claim, and write all the same.
        """
        with self.transaction() as connection:
            self.fence(connection)
            yield connection


def equal(table: sa.Table, values: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """The conditions that each column has its value."""
    return [table.c[name] == value for name, value in values.items()]


def now() -> str:
    """The time in UTC, for people; order never depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _engine(url: str) -> sa.Engine:
    """The engine of a URL. A malformed one is not shown, because nobody knows which part of it is the password."""
    try:
        if (file := sqlite_file(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        parsed = sa.make_url(url)
        arguments = {"timeout": LOCK_TIMEOUT_SECONDS} if parsed.get_backend_name() == "sqlite" else {}
        # With parameters, an error would print sealed figures.
        return sa.create_engine(parsed, connect_args=arguments, hide_parameters=True)
    except OSError as error:
        remedy = "Check RATCHET_LEDGER_URL and RATCHET_HOME."
        raise RegistryError(f"the ledger's folder cannot be made: {error}. {remedy}") from error
    except (NoSuchModuleError, ImportError) as error:
        remedy = "Install it, or correct RATCHET_LEDGER_URL."
        raise RegistryError(f"no driver for the ledger's database: {error}. {remedy}") from error
    except (ArgumentError, ValueError) as error:
        form = "dialect+driver://user:password@host:port/name, special characters percent-encoded"
        raise RegistryError(f"RATCHET_LEDGER_URL is not the URL of a database. Its form is {form}.") from error


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN IMMEDIATE, not the driver's late one
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
