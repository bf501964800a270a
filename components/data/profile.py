"""How the values of a version are distributed: lengths, answers, sizes of the splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.components.data.labels import final
from ratchet.components.data.lengths import tokenizer
from ratchet.components.recipe import LengthLimit

TEXTS = ("prompt", "answer", "demonstration", "chosen", "rejected")
PERCENTILES = (5, 50, 95)
TOP = 12


def profile(tables: Mapping[str, Sequence[Mapping[str, Any]]], length: LengthLimit) -> dict[str, Any]:
    """{lengths: column -> figures and histogram, answers: figures, tables: name -> rows} of a version's tables.

    Lengths are in tokens of the recipe's tokenizer, or words and punctuation marks.
    """
    split = tokenizer(length.tokenizer)
    rows = [row for name, rows in tables.items() if name != "added" for row in rows]
    lengths = {}
    for column in TEXTS:
        texts = [row[column] for row in rows if row.get(column) is not None]
        if texts:
            lengths[column] = spread([len(spans) for spans in split(texts)])
    return {
        "lengths": lengths,
        "answers": answers([row["answer"] for row in rows if row["answer"] is not None]),
        "tables": {name: len(rows) for name, rows in tables.items()},
    }


def spread(values: Sequence[int]) -> dict[str, Any]:
    """Mean, percentiles, extremes and a histogram of at most 40 bins: [lower edges and the last upper edge], [counts]."""
    array = np.asarray(values)
    bins = np.unique(np.linspace(array.min(), array.max() + 1, min(40, int(array.max() - array.min()) + 1) + 1).astype(int))
    counts, edges = np.histogram(array, bins)
    return {
        "count": len(values),
        "mean": round(float(array.mean()), 2),
        "least": int(array.min()),
        "most": int(array.max()),
        **{f"p{p}": float(np.percentile(array, p)) for p in PERCENTILES},
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def answers(texts: Sequence[str]) -> dict[str, Any]:
    """How many final answers, how many different ones, and the most frequent."""
    counts = Counter(final(text) for text in texts)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    return {"count": len(texts), "distinct": len(counts), "top": [[label, count] for label, count in top]}
