"""The engine of a ledger's URL: its driver, and how each transaction begins.

In SQLite and in PostgreSQL the ledger's transactions exclude one another from the first statement on, so that nothing changes
between what one reads and what it writes. SQLite begins IMMEDIATE, with ``synchronous=FULL``; in PostgreSQL each transaction
first takes one advisory lock, and a process that is paused while it holds that loses its session.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ratchet.components.code.extras import missing_server
from ratchet.components.errors import RegistryError
from ratchet.components.storage.sqlite_files import sqlite_file
from ratchet.components.text import redacted

LOCK_TIMEOUT_SECONDS = 20
PAUSED_SECONDS = 10  # less than the lock's timeout: who waits for a paused process gets its turn
PSYCOPG_3 = "postgresql+psycopg"  # of the extra `server`; SQLAlchemy 2.0 itself means psycopg2
DRIVERS = {"postgresql": PSYCOPG_3, "postgres": PSYCOPG_3}
EXCLUDING = ("sqlite", "postgresql")  # a transaction of another database may read what changes before it writes
LOCK = int.from_bytes(b"ratchet\0", "big")  # the key of the advisory lock, one per database
CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms; a server that vanished is noticed by then
    "application_name": "ratchet",
}


def is_there(url: str) -> bool:
    """Whether a database may be there already: all but a SQLite file that is not."""
    try:
        file = sqlite_file(url)
    except (ArgumentError, ValueError):
        return True  # engine_of says what is wrong with it
    return file is None or file.exists()


def engine_of(url: str) -> sa.Engine:
    """The engine of a URL; a SQLite file's folder is made.

    Raises:
        MissingExtraError: if the driver for PostgreSQL is not installed.
        RegistryError: if the URL is malformed (then it is not shown, because nobody knows which part of it is the password),
            or of neither SQLite nor PostgreSQL, or there is no driver for it.
    """
    try:
        if (file := sqlite_file(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        parsed = with_driver(sa.make_url(url))
        if parsed.host and "@" in f"{parsed.host}{parsed.database}":  # a part of the password, which an error would show
            raise ValueError("an @ in the host")
        _require_exclusion(parsed.get_backend_name())
        # With parameters, an error would print sealed figures.
        engine = sa.create_engine(parsed, hide_parameters=True, **_arguments(parsed))
    except RegistryError:
        raise
    except OSError as error:
        remedy = "Check RATCHET_LEDGER_URL and RATCHET_HOME."
        raise RegistryError(f"the ledger's folder cannot be made: {error}. {remedy}") from error
    except (NoSuchModuleError, ImportError) as error:
        if isinstance(error, ImportError) and parsed.drivername == PSYCOPG_3:
            raise missing_server(f"psycopg, the driver for PostgreSQL ({error})") from error
        remedy = "Install it, or correct RATCHET_LEDGER_URL."
        raise RegistryError(f"no driver for the ledger's database: {error}. {remedy}") from error
    except (ArgumentError, ValueError) as error:
        form = "dialect+driver://user:password@host:port/name, special characters percent-encoded (@ is %40, / is %2F)"
        raise RegistryError(f"RATCHET_LEDGER_URL is not the URL of a database. Its form is {form}.") from error
    _exclude(engine)
    return engine


def _require_exclusion(database: str) -> None:
    if database not in EXCLUDING:
        raise RegistryError(
            f"the ledger cannot be in {database}: its transactions exclude one another only in SQLite and PostgreSQL. "
            "Name a database of these in RATCHET_LEDGER_URL, or unset it for a file."
        )


def with_driver(url: sa.URL) -> sa.URL:
    """A URL whose driver is ours, unless it names one."""
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def shown(url: sa.URL) -> str:
    """A URL without what is secret in it, for messages."""
    return redacted(url.render_as_string(hide_password=True))


def _arguments(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
    own = {name: value for name, value in CONNECTION.items() if name not in url.query}  # arguments would win over the URL
    # No prepared statements, which poolers such as PgBouncer may not keep.
    connect = {**own, "prepare_threshold": None} if url.drivername == PSYCOPG_3 else {}
    # Whatever the server's default: what is read after the lock is what was committed before it.
    return {"connect_args": connect, "isolation_level": "READ COMMITTED"}


def _exclude(engine: sa.Engine) -> None:
    """Let each transaction begin with what excludes the others."""
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_connect)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        sa.event.listen(engine, "begin", _postgresql_begin)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN IMMEDIATE, not the driver's late one
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _postgresql_begin(connection: sa.Connection) -> None:
    limits = {
        "lock_timeout": LOCK_TIMEOUT_SECONDS,
        "idle_in_transaction_session_timeout": PAUSED_SECONDS,
    }
    for name, seconds in limits.items():
        connection.exec_driver_sql(f"SET LOCAL {name} = '{seconds}s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
