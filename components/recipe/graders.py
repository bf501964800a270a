"""Kinds of graders: what judges a completion, for ``graders``, ``reward.verifier`` and the terms of a sum."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ratchet.components.recipe.base import Count, Positive, Section
from ratchet.components.recipe.grader_kinds import JsonMatch, Label, Sql, TextSimilarity


class Numbers(Section):
    """The final number equals the reference answer's."""

    type: Literal["number"] = "number"
    form: Literal["strict", "lenient"] = "lenient"  # strict: only #### N; lenient: also A: N, \\boxed{N}, the answer is N
    last_number: bool = False  # with lenient: the last number of the text if there is no marker


class Exact(Section):
    """The whole completion equals the reference answer, ignoring outer white space."""

    type: Literal["exact"]
    ignore_case: bool = True


class Pattern(Section):
    """A regular expression matches the completion."""

    type: Literal["regex"]
    pattern: str
    whole: bool = False  # the whole completion must match, not a part of it

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return pattern


class Choice(Section):
    """The last option named equals the reference answer's."""

    type: Literal["choice"]
    options: Annotated[list[str], Field(min_length=2)] = Field(default_factory=lambda: ["A", "B", "C", "D"])


class JsonSchema(Section):
    """The completion is JSON that satisfies a JSON Schema (draft 2020-12); external schemas are not fetched."""

    type: Literal["json_schema"]
    document: dict[str, Any]


class Length(Section):
    """1 between two lengths, falling linearly to 0 outside of them."""

    type: Literal["length"]
    shortest: Annotated[int, Field(ge=0)] = 0  # characters
    longest: Count
    slope: Positive = 50.0  # characters over which the reward falls to 0

    @model_validator(mode="after")
    def _in_order(self) -> "Length":
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is above longest {self.longest}; swap them")
        return self


GraderSettings = Annotated[
    Numbers | Exact | Pattern | Choice | JsonSchema | Length | Label | JsonMatch | TextSimilarity | Sql,
    Field(discriminator="type"),
]


def with_type(values: Any) -> Any:
    """Settings of ``reward.verifier`` without a type are for numbers."""
    return {"type": "number", **values} if isinstance(values, dict) else values
