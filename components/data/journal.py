"""What preparation did, step by step, for the summary and the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ratchet.components.data.duplicates import place_of
from ratchet.components.data.splits import split_key, split_of
from ratchet.components.recipe import Split

EXAMPLES = 5
LISTED = 1_000  # rows that are listed where each has to be found
HIDDEN = "(a sealed item: its text is shown nowhere)"
ALWAYS = ("too_long", "duplicates")  # counted in every summary, even where nothing was dropped
TRAINED_ON = ("train", "pairs_train")
MANY = 0.1  # of the rows to train on; a step that drops more of them is warned of
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
        """A step took ``before`` to ``after``; ``why`` says of a dropped row what was wrong with it."""
        gone = before.filter(~pl.col("number").is_in(after["number"].to_list())).sort("number")
        examples = [
            {**self.place(row), "why": why if isinstance(why, str) else why(row)} for row in gone.head(listed).to_dicts()
        ]
        self.count(name, title, before.height, gone.height, examples)
        if not gone.is_empty():
            self.watch(name, title, self.trained_on(before), self.trained_on(gone))

    def watch(self, name: str, title: str, before: int, dropped: int) -> None:
        """Warn of a step that dropped more than a tenth of the rows to train on."""
        if dropped > MANY * before:
            self.warnings.append(f"{title}: {dropped:,} of {before:,} rows to train on were dropped. {_remedy(name)}")

    def trained_on(self, frame: pl.DataFrame) -> int:
        """How many raw rows fall into the tables that are trained on."""
        rows = frame.select("question", "group").iter_rows()
        return sum(split_of(split_key(place_of(question), group), self.split) in TRAINED_ON for question, group in rows)

    def taken(self) -> str:
        """The step that dropped most rows, if it took more than a tenth, with its remedy; else nothing."""
        most = max(self.steps, key=lambda step: step["dropped"], default=None)
        if most is None or most["dropped"] <= MANY * most["before"]:
            return ""
        return f"{most['title']}: {most['dropped']:,} of {most['before']:,} rows were dropped. {_remedy(most['name'])}"

    def count(self, name: str, title: str, before: int, dropped: int, examples: Sequence[Mapping[str, Any]] = ()) -> None:
        """A step that dropped so many of ``before``."""
        self.steps.append({"name": name, "title": title, "before": before, "dropped": dropped, "examples": list(examples)})

    def place(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """File, row and text of a raw row; the text of a sealed item is not shown."""
        question = str(row["question"])
        sealed = split_of(split_key(place_of(question), row["group"]), self.split).startswith("sealed")
        return {"file": row["file"], "row": row["row"], "text": HIDDEN if sealed else question}

    def dropped(self) -> dict[str, int]:
        """Rows dropped by step."""
        return {step["name"]: step["dropped"] for step in self.steps if step["dropped"] or step["name"] in ALWAYS}


def _remedy(name: str) -> str:
    return REMEDIES.get(name, "Look at the rows in the source and correct them.")
