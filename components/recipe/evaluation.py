"""The section ``evaluation``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from ratchet.components.recipe.base import Count, Name, Positive, Section
from ratchet.components.recipe.benchmarks import Benchmark


class Slice(Section):
    """A part of the items that is measured separately: by a regular expression on the prompt, or by a field's value.

    ``item.NAME`` is a kept column, ``item.NAME.KEY`` a value in it.
    """

    name: Name  # as reports and guards call it
    prompt: str | None = None  # a regular expression that the prompt contains
    field: str | None = None  # a column, instead of prompt
    equals: str | int | bool | None = None  # the value of that column

    @model_validator(mode="after")
    def _one_way(self) -> "Slice":
        if (self.prompt is None) == (self.field is None) or (self.field is None) != (self.equals is None):
            raise ValueError(f"slice {self.name!r} needs either prompt, a regular expression, or field and equals")
        try:
            re.compile(self.prompt or "")
        except re.error as error:
            raise ValueError(f"slice {self.name!r}: {self.prompt!r} is not a regular expression ({error})") from error
        return self

    def includes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row belongs to it."""
        if self.prompt is not None:
            return re.search(self.prompt, row["prompt"]) is not None
        value: Any = row
        for key in [self.field] if self.field in row else str(self.field).split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return bool(value == self.equals)


def slices_of(row: Mapping[str, Any], slices: Sequence[Slice]) -> list[str]:
    """Names of the slices that a row belongs to."""
    return [piece.name for piece in slices if piece.includes(row)]


def distinct(slices: list[Slice]) -> list[Slice]:
    """The slices, with unique names.

    Raises:
        ValueError: if two have the same.
    """
    names = [piece.name for piece in slices]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"slice {twice[0]!r} is defined twice; give each slice a unique name")
    return slices


class Evaluation(Section):
    """How a policy is measured."""

    dev_items: Count = 400  # items of the dev split scored during training and in the report
    samples: Count = 1  # completions per item, drawn when challenger and incumbent are compared
    temperature: Positive = 1.0  # temperature of these samples
    sample_rows: Count = 40  # completions kept in the samples table
    # Parts of the items that are reported on their own, and that guards may name.
    slices: list[Slice] = Field(default_factory=list)
    # Name -> JSONL of question (or prompt) and answer, or a library's task: shown, and usable by guards.
    benchmarks: dict[Name, Benchmark] = Field(default_factory=dict)

    _distinct = field_validator("slices")(distinct)

    @model_validator(mode="after")
    def _names_are_free(self) -> "Evaluation":
        taken = sorted({"sealed", "guard", "dev"} & set(self.benchmarks))
        if taken:
            raise ValueError(f"a benchmark cannot be called {taken[0]!r}, which is a split; choose another name")
        return self
