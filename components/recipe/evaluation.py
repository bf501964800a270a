"""The section ``evaluation``."""

import re

from pydantic import Field, model_validator

from components.recipe.base import Count, Name, Positive, Section
from components.recipe.benchmarks import Benchmark


class Slice(Section):
    """A part of the items that is measured by itself: by a regular expression on the prompt, or by a field's value."""

    name: Name
    prompt: str | None = None
    field: str | None = None
    equals: str | int | bool | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Slice":
        if (self.prompt is None) == (self.field is None) or (self.field is None) != (self.equals is None):
            raise ValueError(f"slice {self.name!r} needs either prompt, a regular expression, or field and equals")
        try:
            re.compile(self.prompt or "")
        except re.error as error:
            raise ValueError(f"slice {self.name!r}: {self.prompt!r} is not a regular expression ({error})") from error
        return self


class Evaluation(Section):
    """How a policy is measured."""

    dev_items: Count = 400  # items of the dev split scored during training and in the report
    samples: Count = 1  # completions an item, drawn when challenger and incumbent are compared
    temperature: Positive = 1.0
    sample_rows: Count = 40  # completions kept in the samples table
    slices: list[Slice] = Field(default_factory=list)
    # Name -> JSONL of question (or prompt) and answer, or a library's task: shown, and usable by guards.
    benchmarks: dict[Name, Benchmark] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_free(self) -> "Evaluation":
        taken = sorted({"sealed", "guard", "dev"} & set(self.benchmarks))
        if taken:
            raise ValueError(f"a benchmark cannot be called {taken[0]!r}, which is a split; choose another name")
        names = [piece.name for piece in self.slices]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"slice {twice[0]!r} is there twice; give each a name of its own")
        return self
