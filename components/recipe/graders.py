"""Kinds of graders: what judges a completion, for ``graders``, ``reward.verifier`` and the terms of a sum."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ratchet.components.formula import parse_formula
from ratchet.components.recipe.base import Name
from ratchet.components.recipe.builtin_graders import (
    Choice,
    Exact,
    JsonMatch,
    JsonSchema,
    Label,
    Length,
    Math,
    Numbers,
    Pattern,
    Sql,
    TextSimilarity,
)
from ratchet.components.recipe.grader_base import Range, Scored
from ratchet.components.recipe.openai_graders import OpenAI
from ratchet.components.recipe.outside_graders import Http, UserFunction


class Multi(Scored):
    """A formula over the scores of other graders: ``0.9 * right + 0.1 * fields``."""

    type: Literal["multi"]
    graders: Annotated[dict[Name, "GraderSettings"], Field(min_length=1)]  # graders, by the names that the formula uses
    formula: str  # a formula of names, numbers, + - * / ^ and functions
    # null: values as they are; of a reward alone
    range: Range | None = Field(default_factory=lambda: [0.0, 1.0])  # type: ignore[assignment]

    @model_validator(mode="after")
    def _formula_is_over_them(self) -> "Multi":
        if self.range is None and self.measure == "binary":
            raise ValueError("measure: binary says that values are the range's ends, and range is null; give it")
        names = parse_formula(self.formula).names
        if names != set(self.graders):
            wrong = ", ".join(sorted(names ^ set(self.graders)))
            raise ValueError(f"the formula and the graders do not name the same: {wrong}; name each in both")
        return self


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
