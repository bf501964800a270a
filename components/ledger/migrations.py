"""The ledger's schema: its version, and the steps by which a ledger of an earlier release becomes one of this release.

A ledger of a later release is refused before anything in it is used. A SQLite file is copied before each step.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.engine import shown
from ratchet.components.ledger.tables import metadata, settings_table
from ratchet.components.storage.files import copy_database
from ratchet.components.storage.sqlite_files import sqlite_file

SCHEMA_VERSION = 10
RUNS_OF_3 = sa.Table(
    "runs",
    sa.MetaData(),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started", sa.String(40), nullable=False),
    sa.Column("finished", sa.String(40)),
    sa.Column("result", sa.Text),
)

LEASES_OF_9 = sa.Table(
    "leases",
    sa.MetaData(),
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String(120), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)


def advance(connection: sa.Connection, say: Callable[[str], None]) -> bool:
    """Create the tables of an empty database, or take one step towards today's schema.

    Args:
        say: called with what is about to happen.

    Returns:
        Whether nothing is left to do. If not, call it again in a transaction of its own.

    Raises:
        RegistryError: if the ledger is of a later release, of one that is too old, or cannot be copied.
    """
    found = schema_version(connection)
    if found is None:
        metadata.create_all(connection)
        connection.execute(settings_table.insert().values(key="schema", value=str(SCHEMA_VERSION)))
    elif found < SCHEMA_VERSION:
        _migrate(connection, found, say)
        return False
    return True


def schema_version(connection: sa.Connection) -> int | None:
    """The schema of a ledger, which this release can use or migrate; None of a database without any of its tables.

    Raises:
        RegistryError: if it is none of these.
    """
    present = set(sa.inspect(connection).get_table_names()) & set(metadata.tables)
    if not present:
        return None
    query = sa.select(settings_table.c.value).where(settings_table.c.key == "schema")
    text = connection.execute(query).scalar() if settings_table.name in present else None
    place = shown(connection.engine.url)
    if text is None or not text.isdecimal():
        tables = ", ".join(sorted(present))
        raise RegistryError(
            f"{place} has tables of a ledger's names ({tables}) and no version of its schema: it is another program's "
            "database, or damaged. Correct RATCHET_LEDGER_URL, or restore the ledger from a backup."
        )
    found = int(text)
    if found > SCHEMA_VERSION:
        raise RegistryError(
            f"the ledger {place} has schema {found}, of a later release than this one, which knows schema {SCHEMA_VERSION}. "
            "Nothing was read or changed. Upgrade: pip install --upgrade ratchet-rl."
        )
    if found < SCHEMA_VERSION and found not in MIGRATIONS:
        raise RegistryError(
            f"the ledger {place} has schema {found}; this release migrates schema {min(MIGRATIONS)} and later. "
            "Open it once with the release after the one that wrote it."
        )
    return found


def _migrate(connection: sa.Connection, found: int, say: Callable[[str], None]) -> None:
    """One step, unless another process takes it: who changes the number first, does the work, in the same transaction."""
    _copy(connection, found, say)
    mine = sa.and_(settings_table.c.key == "schema", settings_table.c.value == str(found))
    # First: on PostgreSQL this locks the row, so that another process waits here and then finds another number.
    if connection.execute(settings_table.update().where(mine).values(value=str(found + 1))).rowcount:
        say(f"migrating the ledger from schema {found} to {found + 1}")
        MIGRATIONS[found](connection)


def _copy(connection: sa.Connection, found: int, say: Callable[[str], None]) -> None:
    """A copy of a SQLite file beside it, as the transaction found it."""
    file = sqlite_file(connection.engine.url.render_as_string(hide_password=False))
    if file is None:
        return
    target = file.with_name(f"{file.stem}.schema-{found}{file.suffix}")
    try:
        copy_database(file, target)
    except (OSError, sqlite3.Error) as error:
        remedy = "Free disk space, or make its folder writable, and try again; the ledger is unchanged."
        raise RegistryError(f"cannot copy the ledger to {target} before it is migrated: {error}. {remedy}") from error
    say(f"copied the ledger of schema {found} to {target}")


def _runs_by_their_ids(connection: sa.Connection) -> None:
    """In schema 2 the key of ``runs`` was the identity."""
    columns = [column.name for column in RUNS_OF_3.columns]
    connection.execute(sa.text("ALTER TABLE runs RENAME TO runs_2"))
    RUNS_OF_3.create(connection)
    before = sa.select(*(sa.column(name) for name in columns)).select_from(sa.table("runs_2"))
    connection.execute(RUNS_OF_3.insert().from_select(columns, before))
    connection.execute(sa.text("DROP TABLE runs_2"))


def _missing_tables(connection: sa.Connection) -> None:
    """Schema 4 added ``policies``, schema 5 ``stops``, schema 7 ``slots``; others came in between, under one number."""
    metadata.create_all(connection)


def _first_starts(connection: sa.Connection) -> None:
    """Schema 6 added ``begun`` to ``runs``; some ledgers of schema 5 have it."""
    _add(connection, "runs", "begun", "VARCHAR(40)")


def _people(connection: sa.Connection) -> None:
    """Schema 8 added who decided, and who may."""
    _add(connection, "promotions", "person", "VARCHAR(80)")
    _add(connection, "runs", "roles", "TEXT")


def _without_clocks(connection: sa.Connection) -> None:
    """Schema 9 added to each use of a fold what it takes from its epoch; until then clocks ordered runs, and ended leases."""
    _add(connection, "gate_uses", "epoch_use", "INTEGER")
    _add(connection, "gate_uses", "alpha", "FLOAT")
    _number(connection, "runs", "started", ["run_id"])
    _number(connection, "slots", "at", ["slot", "model", "recipe"])
    connection.execute(sa.text("ALTER TABLE leases RENAME TO leases_8"))
    LEASES_OF_9.create(connection)
    values: list[Any] = [sa.column("model"), sa.column("token"), sa.false(), sa.column("holder"), sa.literal(0.0)]
    columns = [column.name for column in LEASES_OF_9.columns]
    connection.execute(LEASES_OF_9.insert().from_select(columns, sa.select(*values).select_from(sa.table("leases_8"))))
    connection.execute(sa.text("DROP TABLE leases_8"))


def _questions(connection: sa.Connection) -> None:
    """Schema 10 added what the items of a fold asked: their ids change with an instruction, and with what else is asked."""
    _add(connection, "fold_items", "asked", "TEXT")


def _number(connection: sa.Connection, name: str, time: str, key: Sequence[str]) -> None:
    """Number the rows of a table by a time, and rows of the same time by their key."""
    _add(connection, name, "sequence", "INTEGER NOT NULL DEFAULT 0")
    table = sa.table(name, *(sa.column(column) for column in (*key, time, "sequence")))
    rows = connection.execute(sa.select(table).order_by(table.c[time], *(table.c[column] for column in key))).mappings().all()
    for number, row in enumerate(rows, 1):
        mine = [table.c[column] == row[column] for column in key]
        connection.execute(table.update().where(*mine).values(sequence=number))


def _add(connection: sa.Connection, table: str, column: str, kind: str) -> None:
    if column not in {known["name"] for known in sa.inspect(connection).get_columns(table)}:
        connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column} {kind}"))


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {  # from this schema to the next
    2: _runs_by_their_ids,
    3: _missing_tables,
    4: _missing_tables,
    5: _first_starts,
    6: _missing_tables,
    7: _people,
    8: _without_clocks,
    9: _questions,
}
