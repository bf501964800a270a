"""The database under the ledger: transactions, the fence that a run's decisions pass, and the time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ratchet.components.ledger.clock import Clock, MachineClock
from ratchet.components.ledger.engine import engine_of, shown
from ratchet.components.ledger.failures import explained, failure_of
from ratchet.components.ledger.migrations import advance

PATIENCE_SECONDS = 20.0  # how long a transaction waits for a server that restarts, before it begins
POLL = 1.0


class Database:
    """A SQLite file or, by its URL, another database."""

    def __init__(self, url: str, clock: Clock | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        """A database of an earlier release is migrated.

        Args:
            say: called with what a migration does.

        Raises:
            RegistryError: if the database cannot be opened or migrated, or is of a later release.
            MissingExtraError: if its driver is not installed.
        """
        self.clock = clock or MachineClock()
        self.fence: Callable[[sa.Connection], None] = lambda _: None  # a run's claim sets this check
        self.engine = engine_of(url)
        self.url, self.place = self.engine.url, shown(self.engine.url)
        self.patience = 0.0  # a wrong address is reported at once
        current = False
        while not current:
            with self.transaction() as connection:
                current = advance(connection, say)
        if self.engine.dialect.name != "sqlite":  # which waits for a lock itself, and has no server
            self.patience = PATIENCE_SECONDS

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All of the block, or none of it.

        Raises:
            LedgerUnavailableError: if the database is locked, full or out of reach; it may pass.
            RegistryError: if the database refuses, lacks or denies something, or is damaged.
        """
        try:
            begun = self._begun()
            with begun.connection, begun:
                yield begun.connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise explained(error, self.place) from error

    def _begun(self) -> sa.RootTransaction:
        """A transaction, after waiting for a server that restarts: nothing was done in it yet, so this repeats nothing."""
        deadline = self.clock.time() + self.patience
        while True:
            try:
                return _begin(self.engine)
            except SQLAlchemyError as error:
                if self.clock.time() >= deadline or not failure_of(error).passes:
                    raise
            self.clock.sleep(POLL)

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


def next_in(table: sa.Table) -> sa.ScalarSelect[int]:
    """The next number of a table's column ``sequence``: the order in which rows were written, whatever clocks say."""
    return sa.select(1 + sa.func.coalesce(sa.func.max(table.c.sequence), 0)).scalar_subquery()


def now() -> str:
    """The time in UTC, for people; order never depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begin(engine: sa.Engine) -> sa.RootTransaction:
    connection = engine.connect()
    try:
        return connection.begin()
    except BaseException:
        connection.close()
        raise
