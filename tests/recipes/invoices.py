"""The rows of extract.yaml: bills in words and as JSON, with one wrong field in a third of the demonstrations.

``python -m tests.recipes.invoices`` writes ``invoices.jsonl`` again; a test holds the file to this.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "invoices.jsonl"
VENDORS = ["Arden", "Bolt", "Cobalt", "Dorset", "Ember", "Fjord", "Garnet", "Harbour"]
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
WRONG = 0.35  # of the demonstrations


def rows() -> Iterator[dict[str, Any]]:
    """One bill for each sentence, vendor, total and day, in random order."""
    draws = np.random.default_rng(1)
    bills = list(product(SENTENCES, VENDORS, TOTALS, DATES))
    for place in draws.permutation(len(bills)).tolist():
        sentence, vendor, total, day = bills[place]
        right = {"vendor": vendor, "total": total, "date": DATES[day]}
        wrong = _with_a_wrong_field(right, draws)
        given = wrong if draws.random() < WRONG else right
        text = sentence.format(vendor=vendor, total=total, day=day)
        yield {"text": text, "vendor": vendor} | {
            name: json.dumps(bill) for name, bill in {"bill": right, "annotated": given, "other": wrong}.items()
        }


def _with_a_wrong_field(bill: dict[str, Any], draws: np.random.Generator) -> dict[str, Any]:
    field = str(draws.choice(list(CHOICES)))
    others = [value for value in CHOICES[field] if value != bill[field]]
    return bill | {field: others[int(draws.integers(len(others)))]}


def text() -> str:
    return "".join(json.dumps(row) + "\n" for row in rows())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
