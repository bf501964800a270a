"""What every section of a recipe is made of."""

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def date_of(text: str) -> str | None:
    """The date (YYYY-MM-DD) that a text begins with, if it does."""
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return None


def _is_date(text: str) -> str:
    if date_of(text) != text:
        raise ValueError("it is not a date such as 2025-01-31")
    return text


# YAML reads an unquoted date as one.
IsoDate = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is date else value), AfterValidator(_is_date)]


class Section(BaseModel):
    """A closed, frozen part of a recipe. Strict: a boolean is not a number, and a number in quotes is text."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
