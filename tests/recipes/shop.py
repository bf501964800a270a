"""The rows of sql.yaml: questions about a shop and their queries; a third of the demonstrations answer another question.

``python -m tests.recipes.shop`` writes ``questions.jsonl`` and ``shop.sqlite`` again; a test holds both to this.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "questions.jsonl"
DATABASE = Path(__file__).parent / "shop.sqlite"
PRODUCTS = ["lamp", "phone", "radio", "clock", "camera", "kettle", "printer", "heater"]
TOWNS = ["Oslo", "Bergen", "Paris", "Lyon", "Turin", "Porto"]
SALES = 3  # of each product in each town
MEASURES = {"total": "sum(price)", "highest price": "max(price)", "lowest price": "min(price)", "mean price": "avg(price)"}
OPENINGS = ["What is the", "Show the", "Give me the", "Find the", "And the"]
WRONG = 0.35  # of the demonstrations


def query(measure: str, thing: str, town: str) -> str:
    return f"SELECT {MEASURES[measure]} FROM sales WHERE product = '{thing}' AND town = '{town}'"  # noqa: S608 - the names above


def rows() -> Iterator[dict[str, Any]]:
    """One question for each opening, measure, product and town, in random order."""
    draws = np.random.default_rng(1)
    questions = list(product(OPENINGS, MEASURES, PRODUCTS, TOWNS))
    for place in draws.permutation(len(questions)).tolist():
        opening, *asked = questions[place]
        right, wrong = query(*asked), query(*_another(asked, draws))
        given = wrong if draws.random() < WRONG else right
        text = f"{opening} {asked[0]} of a {asked[1]} in {asked[2]}."
        yield {"text": text, "town": asked[2], "query": right, "annotated": given, "other": wrong}


def _another(asked: list[str], draws: np.random.Generator) -> list[str]:
    """The question with another measure, product or town."""
    place = int(draws.integers(3))
    others = [value for value in (list(MEASURES), PRODUCTS, TOWNS)[place] if value != asked[place]]
    return [*asked[:place], str(draws.choice(others)), *asked[place + 1 :]]


def sales() -> list[tuple[str, str, int]]:
    """Product, town and price in cents of every sale. No price occurs twice, so that two questions have different answers."""
    pairs = [pair for pair in product(PRODUCTS, TOWNS) for _ in range(SALES)]
    prices = np.random.default_rng(4).choice(np.arange(500, 99_500), size=len(pairs), replace=False).tolist()
    return [(thing, town, price) for (thing, town), price in zip(pairs, prices, strict=True)]


def write_database(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.execute("CREATE TABLE sales (product TEXT, town TEXT, price INTEGER)")
        shop.executemany("INSERT INTO sales VALUES (?, ?, ?)", sales())


def text() -> str:
    return "".join(json.dumps(row) + "\n" for row in rows())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    write_database(DATABASE)
