"""What preparation did, step by step, for the summary and the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from components.data.duplicates import prompt_id
from components.data.splits import split_key, split_of
from components.recipe import Split

EXAMPLES = 5
HIDDEN = "(a sealed item: its text is shown nowhere)"
ALWAYS = ("too_long", "duplicates")  # counted in every summary, even where nothing was dropped


@dataclass
class Journal:
    """Counts through each step, with examples of what was dropped and why."""

    split: Split
    rows: int
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def drop(
        self, name: str, title: str, before: pl.DataFrame, after: pl.DataFrame, why: str | Callable[[Mapping[str, Any]], str]
    ) -> None:
        """A step took ``before`` to ``after``; ``why`` says of a dropped row what was wrong with it."""
        gone = before.filter(~pl.col("number").is_in(after["number"].to_list())).sort("number")
        examples = [
            {**self.place(row), "why": why if isinstance(why, str) else why(row)} for row in gone.head(EXAMPLES).to_dicts()
        ]
        self.count(name, title, before.height, gone.height, examples)

    def count(self, name: str, title: str, before: int, dropped: int, examples: Sequence[Mapping[str, Any]] = ()) -> None:
        """A step that dropped so many of ``before``."""
        self.steps.append({"name": name, "title": title, "before": before, "dropped": dropped, "examples": list(examples)})

    def place(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """File, row and text of a raw row; the text of a sealed item is not shown."""
        question = str(row["question"])
        sealed = split_of(split_key(prompt_id(question), row["group"]), self.split).startswith("sealed")
        return {"file": row["file"], "row": row["row"], "text": HIDDEN if sealed else question}

    def dropped(self) -> dict[str, int]:
        """Rows dropped by step."""
        return {step["name"]: step["dropped"] for step in self.steps if step["dropped"] or step["name"] in ALWAYS}
