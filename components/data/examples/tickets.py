"""Classification: a support ticket belongs to one of four teams."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

PHRASES = {
    "billing": ["was charged twice", "has the wrong price", "shows an unpaid invoice", "needs a refund"],
    "delivery": ["is late", "came to a neighbour", "has no tracking number", "is still at the depot"],
    "account": ["wants a password", "locked me out", "forgot my email", "shows another user"],
    "repair": ["makes a noise", "has a broken screen", "does not start", "is too hot"],
}
THINGS = ["lamp", "phone", "radio", "clock", "camera", "kettle", "printer", "heater", "scale", "drill", "mixer", "router"]
OPENINGS = ["My", "Hello, my", "Our new", "The old", "Help: the", "Again my"]


def rows(draws: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One ticket for each opening, thing and phrase."""
    tickets = [(o, t, p, label) for label, phrases in PHRASES.items() for o, t, p in product(OPENINGS, THINGS, phrases)]
    for place in draws.permutation(len(tickets)).tolist():
        opening, thing, phrase, label = tickets[place]
        wrong = str(draws.choice([name for name in PHRASES if name != label]))
        yield {"question": f"{opening} {thing} {phrase}.", "thing": thing, "right": label, "wrong": wrong}
