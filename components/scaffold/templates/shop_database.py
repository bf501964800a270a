"""The SQLite database that the template ``sql`` asks about."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from ratchet.components.data.examples.shop import TABLES, TOWNS
from ratchet.components.randomness import stream

RECORDS = 3  # of each table in each town
PRICES = range(500, 99_500)  # cents


def records() -> dict[str, list[tuple[str, int]]]:
    """Town and price of every record, by table. No price occurs twice: two questions have different answers."""
    shape = (len(TABLES), len(TOWNS), RECORDS)
    prices = stream(4, "example:shop.sqlite").choice(PRICES, shape, replace=False).tolist()
    return {
        table: [(town, price) for town, several in zip(TOWNS, of_table, strict=True) for price in several]
        for table, of_table in zip(TABLES, prices, strict=True)
    }


def database() -> bytes:
    """The file's content: the same on every call with one release of SQLite."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shop.sqlite"
        with closing(sqlite3.connect(path)) as shop, shop:
            shop.execute("PRAGMA page_size = 512")
            for table, rows in records().items():
                shop.execute(f"CREATE TABLE {table} (town TEXT, price INTEGER)")
                shop.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - the names above
        return path.read_bytes()
