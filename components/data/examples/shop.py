"""SQL: a question about a shop's records becomes a query. A wrong answer asks for another measure, table or town."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

TABLES = ["orders", "returns", "offers", "repairs", "rentals"]  # each of town and price
TOWNS = ["Oslo", "Bergen", "Paris", "Lyon", "Turin"]
MEASURES = {"total": "sum", "highest": "max", "lowest": "min", "mean": "avg"}
OPENINGS = [
    *["What is the", "Show the", "Give me the", "Find the", "And the", "Now the", "I need the", "Tell me the"],
    *["Please show the", "Look up the", "We want the", "What was the"],
]


def query(measure: str, table: str, town: str) -> str:
    """The query of a question's three words."""
    return f"SELECT {MEASURES[measure]}(price) FROM {table} WHERE town = '{town}'"  # noqa: S608 - the words above


def rows(draws: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One question for each opening, measure, table and town."""
    questions = list(product(OPENINGS, MEASURES, TABLES, TOWNS))
    for place in draws.permutation(len(questions)).tolist():
        opening, *asked = questions[place]
        text = f"{opening} {asked[0]} price of {asked[1]} in {asked[2]}."
        yield {"text": text, "town": asked[2], "right": query(*asked), "wrong": query(*_another(asked, draws))}


def _another(asked: list[str], draws: np.random.Generator) -> list[str]:
    place = int(draws.integers(3))
    others = [value for value in (list(MEASURES), TABLES, TOWNS)[place] if value != asked[place]]
    return [*asked[:place], str(draws.choice(others)), *asked[place + 1 :]]
