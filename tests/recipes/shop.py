"""The database of sql.yaml. ``python -m tests.recipes.shop`` writes it again; a test holds the file to this."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from ratchet.components.data.examples.shop import TABLES, TOWNS

DATABASE = Path(__file__).parent / "shop.sqlite"
RECORDS = 3  # of each table in each town


def records() -> dict[str, list[tuple[str, int]]]:
    """Town and price in cents of every record, by table. No price occurs twice: two questions have different answers."""
    prices = np.random.default_rng(4).choice(np.arange(500, 99_500), (len(TABLES), len(TOWNS), RECORDS), replace=False).tolist()
    return {
        table: [(town, price) for town, several in zip(TOWNS, of_table, strict=True) for price in several]
        for table, of_table in zip(TABLES, prices, strict=True)
    }


def write_database(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.execute("PRAGMA page_size = 512")
        for table, rows in records().items():
            shop.execute(f"CREATE TABLE {table} (town TEXT, price INTEGER)")
            shop.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - the names above


if __name__ == "__main__":
    write_database(DATABASE)
