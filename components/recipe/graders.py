"""Kinds of graders: what judges a completion, for ``graders``, ``reward.verifier`` and the terms of a sum."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ratchet.components.formula import parse_formula
from ratchet.components.recipe.base import Count, GraderSection, Name, Positive
from ratchet.components.recipe.grader_kinds import Http, JsonMatch, Label, Math, Range, Sql, TextSimilarity, UserFunction
from ratchet.components.recipe.openai_graders import OpenAI


class Numbers(GraderSection):
    """The final number equals the reference answer's."""

    type: Literal["number"] = "number"
    form: Literal["strict", "lenient"] = "lenient"  # strict: only #### N; lenient: also A: N, \\boxed{N}, the answer is N
    last_number: bool = False  # with lenient: the last number of the text if there is no marker


class Exact(GraderSection):
    """The whole completion equals the reference answer, ignoring outer white space."""

    type: Literal["exact"]
    ignore_case: bool = True


class Pattern(GraderSection):
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


class Choice(GraderSection):
    """The last option named equals the reference answer's."""

    type: Literal["choice"]
    options: Annotated[list[str], Field(min_length=2)] = Field(default_factory=lambda: ["A", "B", "C", "D"])


class JsonSchema(GraderSection):
    """The completion is JSON that satisfies a JSON Schema (draft 2020-12); external schemas are not fetched."""

    type: Literal["json_schema"]
    document: dict[str, Any]


class Length(GraderSection):
    """1 between two lengths, falling linearly to 0 outside of them."""

    type: Literal["length"]
    shortest: Annotated[int, Field(ge=0)] = 0  # characters
    longest: Count
    slope: Positive = 50.0  # characters over which the reward falls to 0

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded"

    @model_validator(mode="after")
    def _in_order(self) -> "Length":
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is above longest {self.longest}; swap them")
        return self


class Multi(GraderSection):
    """A formula over the scores of other graders: ``0.9 * right + 0.1 * fields``."""

    type: Literal["multi"]
    graders: Annotated[dict[Name, "GraderSettings"], Field(min_length=1)]
    formula: str
    range: Range | None = Field(default_factory=lambda: [0.0, 1.0])  # of values, which become 0 to 1; null: as they are
    passes_at: float | None = None  # passed from this value on

    @model_validator(mode="after")
    def _formula_is_over_them(self) -> "Multi":
        names = parse_formula(self.formula).names
        if names != set(self.graders):
            wrong = ", ".join(sorted(names ^ set(self.graders)))
            raise ValueError(f"the formula and the graders do not name the same: {wrong}; name each in both")
        return self

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded"

    @property
    def passes(self) -> bool:
        return self.passes_at is not None


def with_type(values: Any) -> Any:
    """``{file: ...}``, ``{http: URL}`` and ``{openai: ...}`` are of that type, and other settings without a type of numbers."""
    if not isinstance(values, dict) or "type" in values:
        return values
    for kind, key in (("file", "file"), ("http", "url"), ("openai", "grader")):
        if kind in values:
            return {"type": kind, key: values[kind], **{name: one for name, one in values.items() if name != kind}}
    return {"type": "number", **values}


GraderSettings = Annotated[
    Annotated[
        Numbers
        | Exact
        | Pattern
        | Choice
        | JsonSchema
        | Length
        | Label
        | JsonMatch
        | TextSimilarity
        | Math
        | Sql
        | UserFunction
        | Http
        | OpenAI
        | Multi,
        Field(discriminator="type"),
    ],
    BeforeValidator(with_type),
]
Multi.model_rebuild()
