"""The rows of classify.yaml: support tickets in four classes, with labels that a careless annotator gave for a third of them.

``python -m tests.recipes.tickets`` writes ``tickets.jsonl`` again; a test holds the file to this.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "tickets.jsonl"
PHRASES = {
    "billing": ["was charged twice", "has the wrong price", "shows an unpaid invoice", "needs a refund"],
    "delivery": ["is late", "came to a neighbour", "has no tracking number", "is still at the depot"],
    "account": ["wants a password", "locked me out", "forgot my email", "shows another user"],
    "repair": ["makes a noise", "has a broken screen", "does not start", "is too hot"],
}
THINGS = ["lamp", "phone", "radio", "clock", "camera", "kettle", "printer", "heater", "scale", "drill", "mixer", "router"]
OPENINGS = ["My", "Hello, my", "Our new", "The old", "Help: the", "Again my"]
WRONG = 0.35  # of the demonstrations


def rows() -> Iterator[dict[str, Any]]:
    """One ticket for each opening, thing and phrase, in random order."""
    draws = np.random.default_rng(1)
    tickets = [(o, t, p, label) for label, phrases in PHRASES.items() for o, t, p in product(OPENINGS, THINGS, phrases)]
    for place in draws.permutation(len(tickets)).tolist():
        opening, thing, phrase, label = tickets[place]
        other = str(draws.choice([name for name in PHRASES if name != label]))
        given = other if draws.random() < WRONG else label
        yield {"text": f"{opening} {thing} {phrase}.", "label": label, "annotated": given, "other": other, "thing": thing}


def text() -> str:
    return "".join(json.dumps(row) + "\n" for row in rows())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
