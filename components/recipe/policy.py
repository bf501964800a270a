"""The section ``policy``: the model that training starts from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ratchet.components.recipe.base import Count, Positive, Section


class Warmup(Section):
    """Supervised fine-tuning of the embedded tiny policy."""

    layers: Count = 4
    width: Count = 128
    heads: Count = 4
    vocabulary: Annotated[int, Field(ge=300)] = 768
    context: Count = 256
    steps: Count = 700
    batch: Count = 64
    lr: Positive = 2e-3

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Warmup":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice heads {self.heads}; change one of them")
        return self


class Policy(Section):
    """The starting policy: the warmed-up tiny one, or an existing model."""

    start: Literal["base", "champion"] = "base"
    model: str | None = None  # a directory or hub id; skips the warm-up
    revision: str | None = None  # commit of a hub id
    shape: dict[str, bool | int | float | str] | None = None  # fields of its config.json, checked after the download
    warmup: Warmup = Warmup()
    max_new_tokens: Count = 32
