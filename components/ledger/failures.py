"""What an error of the ledger's database means to a user: its cause, the remedy, and whether it may pass by itself."""

from typing import NamedTuple

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ratchet.components.errors import LedgerUnavailableError, RegistryError
from ratchet.components.text import visible

MAX_TOLD = 500  # characters of the database's own message


class Failure(NamedTuple):
    """A kind of failure."""

    what: str  # completes "the ledger PLACE ..."
    remedy: str
    passes: bool = False  # whether the same transaction may succeed later without anybody's help


LOGIN = Failure("refuses the login", "Correct the user or the password in RATCHET_LEDGER_URL, or the server's pg_hba.conf.")
ABSENT = Failure(
    "does not exist on its server", "Create the database (CREATE DATABASE ... OWNER ...), or correct RATCHET_LEDGER_URL."
)
RIGHTS = Failure(
    "denies its user a right", "Make that user the owner of the database, or grant it CONNECT, and CREATE on its schema."
)
FULL = Failure("has no space left", "Free space on the database's disk, and run again; nothing was half written.", passes=True)
ROOM = Failure("accepts no further connection", "Raise the limit of connections of the server, the database or the user.", True)
READ_ONLY = Failure("is read-only", "Name the primary server and not a standby, or make file and folder writable.", passes=True)
BUSY = Failure("is locked by another process", "Close the program that locks it, and run again.", passes=True)
GONE = Failure("cannot be reached", "Start its server, or correct host and port in RATCHET_LEDGER_URL.", passes=True)
UNREADABLE = Failure("cannot be opened", "Make the file and its folder readable and writable for this user.")
ADDRESS = Failure("cannot be opened", "Correct the parameters of RATCHET_LEDGER_URL.")
DAMAGED = Failure("is damaged", "Restore it from a backup.")
OTHER = Failure("failed", "Look for the cause in the database's own log.")

# The beginning of SQLite's name of an error (https://sqlite.org/rescode.html) or of PostgreSQL's SQLSTATE
# (https://www.postgresql.org/docs/current/errcodes-appendix.html). The first that fits counts.
BY_CODE: tuple[tuple[str, Failure], ...] = (
    ("SQLITE_NOTADB", DAMAGED),
    ("SQLITE_CORRUPT", DAMAGED),
    ("SQLITE_FULL", FULL),
    ("SQLITE_READONLY", READ_ONLY),
    ("SQLITE_BUSY", BUSY),
    ("SQLITE_LOCKED", BUSY),
    ("SQLITE_CANTOPEN", UNREADABLE),
    ("28", LOGIN),
    ("3D000", ABSENT),
    ("42501", RIGHTS),
    ("3F000", RIGHTS),  # no schema in which this user may create a table
    ("25006", READ_ONLY),
    ("25P03", BUSY),  # this process was paused in a transaction, and its session was ended
    ("40", BUSY),  # a deadlock, a failed serialization
    ("55P03", BUSY),
    ("57014", BUSY),  # a statement_timeout of the server's
    ("53100", FULL),
    ("XX001", DAMAGED),
    ("XX002", DAMAGED),
    ("53300", ROOM),
    ("08", GONE),
    ("57P04", ABSENT),  # it was dropped
    ("57P", GONE),  # it shuts down, starts or recovers
)
# While it connects, libpq has no code, only the server's message. A server that speaks another language is "cannot be
# reached", with its own words.
BY_WORDS: tuple[tuple[str, Failure], ...] = (
    ("authentication failed", LOGIN),
    ("pg_hba.conf", LOGIN),
    ("no password supplied", LOGIN),
    ("is not permitted to log in", LOGIN),
    ("permission denied", RIGHTS),
    ("too many c", ROOM),  # connections, clients
    ("connection slots are reserved", ROOM),
    ("connection is bad: invalid", ADDRESS),
)


def failure_of(error: SQLAlchemyError) -> Failure:
    """The kind of a failure."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if code is not None:
        return next((failure for beginning, failure in BY_CODE if code.startswith(beginning)), OTHER)
    words = str(cause)
    if not isinstance(error, OperationalError):
        return ADDRESS if "invalid connection option" in words else OTHER
    if 'database "' in words and "does not exist" in words:
        return ABSENT
    if 'role "' in words and "does not exist" in words:
        return LOGIN
    return next((failure for part, failure in BY_WORDS if part in words), GONE)


def explained(error: SQLAlchemyError, place: str) -> RegistryError:
    """The error for a user.

    Args:
        place: the database's URL without its password.
    """
    cause = getattr(error, "orig", None)
    # PostgreSQL's primary message: its details may contain the row, and with it sealed figures.
    told = getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause or error)
    told = visible(" ".join(told.split()))[:MAX_TOLD].rstrip(".?!")
    failure = failure_of(error)
    kind = LedgerUnavailableError if failure.passes else RegistryError
    return kind(f"the ledger {place} {failure.what}: {told}. {failure.remedy}")
