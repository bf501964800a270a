"""Extraction: a bill in words becomes JSON. A wrong answer has one wrong field."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

VENDORS = ["Arden", "Bolt", "Cobalt", "Dorset", "Ember", "Fjord"]
TOTALS = [19, 25, 38, 42, 57, 64]
DATES = {
    "2 March": "2026-03-02",
    "9 April": "2026-04-09",
    "14 May": "2026-05-14",
    "21 June": "2026-06-21",
    "30 July": "2026-07-30",
}
SENTENCES = [
    "{vendor} billed {total} euros on {day}.",
    "On {day} we owed {vendor} {total} euros.",
    "Paid {total} euros to {vendor} on {day}.",
    "Bill of {day} from {vendor}: {total} euros.",
    "{total} euros, {vendor}, {day}.",
]
CHOICES: dict[str, list[Any]] = {"vendor": VENDORS, "total": TOTALS, "date": list(DATES.values())}


def rows(draws: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One bill for each sentence, vendor, total and day."""
    bills = list(product(SENTENCES, VENDORS, TOTALS, DATES))
    for place in draws.permutation(len(bills)).tolist():
        sentence, vendor, total, day = bills[place]
        bill = {"vendor": vendor, "total": total, "date": DATES[day]}
        text = sentence.format(vendor=vendor, total=total, day=day)
        yield {"text": text, "vendor": vendor, "right": json.dumps(bill), "wrong": json.dumps(_with_a_wrong_field(bill, draws))}


def _with_a_wrong_field(bill: dict[str, Any], draws: np.random.Generator) -> dict[str, Any]:
    field = str(draws.choice(list(CHOICES)))
    others = [value for value in CHOICES[field] if value != bill[field]]
    return bill | {field: others[int(draws.integers(len(others)))]}
