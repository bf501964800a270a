"""SQLite's date and time functions, but for the calls whose value depends on the clock or on the machine's time zone.

Which calls these are ('now', no time value, 'subsec' alone, 'localtime', 'utc') is SQLite's to say, as it differs between
releases: it refuses them in a generated column, so that is where every call is computed.
"""

import sqlite3
from functools import lru_cache, partial
from typing import Any

NAMES = ("date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff")
REMEMBERED = 10_000  # values of different calls


class Dates:
    """Takes the place of the functions ``NAMES`` of a connection. Closed by the caller.

    Attributes:
        said: why the last call failed; SQLite's own error of a query does not say it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.said = ""
        self._own = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._value = lru_cache(REMEMBERED, typed=True)(self._computed)
        for name in NAMES:
            connection.create_function(name, -1, partial(self._called, name), deterministic=True)

    def close(self) -> None:
        self._own.close()

    def _called(self, name: str, *arguments: Any) -> Any:
        try:
            return self._value(name, *arguments)
        except sqlite3.Error as error:
            impure = "non-deterministic" in str(error)
            self.said = f"{name}() of the clock or the time zone is not authorized" if impure else str(error)
            raise

    def _computed(self, name: str, *arguments: Any) -> Any:
        table, columns = f"{name}_{len(arguments)}", [f"a{number}" for number in range(len(arguments))]
        made = ", ".join(["id INTEGER PRIMARY KEY", *columns, f"value AS ({name}({', '.join(columns)}))"])
        self._own.execute(f"CREATE TABLE IF NOT EXISTS {table} ({made})")
        self._own.execute(f"REPLACE INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})", (1, *arguments))  # noqa: S608
        return self._own.execute(f"SELECT value FROM {table}").fetchone()[0]  # noqa: S608 - names are ours
