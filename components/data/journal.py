"""The steps of preparation and the distributions of a version's values, for its summary and its report."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ratchet.components.data.columns import TEXTS
from ratchet.components.data.duplicates import places_of
from ratchet.components.data.labels import final_labels
from ratchet.components.data.lengths import token_counter
from ratchet.components.data.questions import asked_in, whole
from ratchet.components.data.schemas import BATCH
from ratchet.components.data.splits import TRAINED_ON, split_key, split_of, with_tables
from ratchet.components.recipe import LengthLimit, Split
from ratchet.components.storage.files import iterate_json_lines

EXAMPLES = 5
LISTED = 1_000  # rows listed if each must be found
HIDDEN = "(a sealed item: its text is never shown)"
ALWAYS = ("too_long", "duplicates")  # counted in every summary, even if nothing was dropped
PERCENTILES = (5, 50, 95)
TOP = 12  # answers listed by name
MANY = 0.1  # of the training rows; a step that drops more of them causes a warning
REMEDIES = {
    "near_duplicates": "Raise data.near_duplicates.similarity, or set data.near_duplicates=null.",
    "overlapping": "Raise data.decontaminate.words, or set data.decontaminate=null.",
    "too_long": "Raise data.max_prompt_chars.",
    "too_many_tokens": "Raise the limits in data.length.",
    "left_out_by_weight": "Bring the weights in data.source nearer to the sizes of the sources.",
}


@dataclass
class Journal:
    """Counts through each step, with examples of what was dropped and why."""

    split: Split
    rows: int
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def drop(
        self,
        name: str,
        title: str,
        before: pl.DataFrame,
        after: pl.DataFrame,
        why: str | Callable[[Mapping[str, Any]], str],
        listed: int = EXAMPLES,
    ) -> None:
        """Record a step from ``before`` to ``after``; ``why`` gives the fault of a dropped row."""
        gone = before.join(after.select("number"), on="number", how="anti") if after.height < before.height else before.clear()
        gone = gone.sort("number")
        examples = [
            {**self.place(row), "why": why if isinstance(why, str) else why(row)} for row in gone.head(listed).to_dicts()
        ]
        self.count(name, title, before.height, gone.height, examples)
        if not gone.is_empty():
            self.watch(name, title, self.trained_on(before), self.trained_on(gone))

    def watch(self, name: str, title: str, before: int, dropped: int) -> None:
        """Warn about a step that dropped more than a tenth of the training rows."""
        if dropped > MANY * before:
            self.warnings.append(f"{title}: {dropped:,} of {before:,} rows to train on were dropped. {_remedy(name)}")

    def trained_on(self, frame: pl.DataFrame) -> int:
        """The number of raw rows in the training tables."""
        if "table" not in frame.columns:
            frame = with_tables(frame.select("group", place=places_of(frame)), self.split)
        return frame.filter(pl.col("table").is_in(TRAINED_ON)).height

    def taken(self) -> str:
        """The step that dropped most rows, if more than a tenth, with its remedy; else empty."""
        most = max(self.steps, key=lambda step: step["dropped"], default=None)
        if most is None or most["dropped"] <= MANY * most["before"]:
            return ""
        return f"{most['title']}: {most['dropped']:,} of {most['before']:,} rows were dropped. {_remedy(most['name'])}"

    def count(self, name: str, title: str, before: int, dropped: int, examples: Sequence[Mapping[str, Any]] = ()) -> None:
        """A step that dropped so many of ``before``."""
        self.steps.append({"name": name, "title": title, "before": before, "dropped": dropped, "examples": list(examples)})

    def place(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """File, row and text of a raw row; the text of a sealed item is not shown."""
        prompt = str(row["prompt"])
        place = row.get("place") or whole(asked_in({**row, "asked": json.loads(row.get("asked") or "null")}))
        sealed = split_of(split_key(place, row["group"]), self.split).startswith("sealed")
        return {"file": row["file"], "row": row["row"], "text": HIDDEN if sealed else prompt}

    def dropped(self) -> dict[str, int]:
        """Rows dropped by step."""
        return {step["name"]: step["dropped"] for step in self.steps if step["dropped"] or step["name"] in ALWAYS}


def _remedy(name: str) -> str:
    return REMEDIES.get(name, "Look at the rows in the source and correct them.")


def profile(tables: Mapping[str, pl.DataFrame], length: LengthLimit) -> dict[str, Any]:
    """{lengths: column -> figures and histogram, answers: figures, tables: name -> rows} of a version's tables.

    Lengths are in tokens of the recipe's tokenizer, or words and punctuation marks.
    """
    count = token_counter(length.tokenizer)
    lengths = {}
    for column in TEXTS:
        texts = _values(tables, column)
        if len(texts):
            lengths[column] = spread(count(texts))
    return {
        "lengths": lengths,
        "answers": answers(_values(tables, "answer")),
        "tables": {name: rows.height for name, rows in tables.items()},
    }


def table_texts(path: Path) -> pl.DataFrame:
    """The texts of a table that Ratchet wrote."""
    rows = iterate_json_lines(path)
    frames = [
        pl.DataFrame({name: [row.get(name) for row in some] for name in TEXTS}, schema=dict.fromkeys(TEXTS, pl.String))
        for some in iter(lambda: list(islice(rows, BATCH)), [])
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(TEXTS, pl.String))


def _values(tables: Mapping[str, pl.DataFrame], column: str) -> pl.Series:
    """The texts that one column of all tables has."""
    found = [rows[column] for name, rows in tables.items() if name != "added" and column in rows.columns]
    return pl.concat([pl.Series(dtype=pl.String), *(texts.rename("") for texts in found)]).drop_nulls()


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


def answers(texts: pl.Series) -> dict[str, Any]:
    """Number of final answers, of distinct ones, and the most frequent ones."""
    counts = final_labels(texts).value_counts().sort("count", "label", descending=[True, False])
    return {"count": len(texts), "distinct": counts.height, "top": [list(row) for row in counts.head(TOP).iter_rows()]}
