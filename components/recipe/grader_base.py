"""What the settings of graders have in common."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ratchet.components.recipe.base import Section
from ratchet.components.templates import parse_template

REFERENCE = "{{item.answer}}"


def _of_item(template: str) -> str:
    if any(path[0] != "item" for path in parse_template(template).paths):
        raise ValueError("it cannot read the completion; write {{item.column}}")
    return template


OfItem = Annotated[str, AfterValidator(_of_item)]  # a template of the row alone


def _inside(name: str) -> str:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name!r} leads out of the project; copy the file into it, and write its path from the root")
    return name


ProjectFile = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


def without_empty_files(values: dict[str, Any]) -> dict[str, Any]:
    """A dump without the key ``files`` where it names none: such recipes have the digests that they had before the key."""
    return {name: value for name, value in values.items() if name != "files" or value}


def _rising(ends: list[float]) -> list[float]:
    if not ends[0] < ends[1]:
        raise ValueError("must be [lowest, highest]")
    return ends


Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class GraderSection(Section):
    """The settings of one grader."""

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        """binary: 0 or 1, right or wrong; bounded: anything from 0 to 1."""
        return "binary"

    @property
    def passes(self) -> bool:
        """Whether its grades say right or wrong, as the measure ``accuracy`` needs."""
        return self.scores == "binary"


class Scored(GraderSection):
    """A grader whose scores are in a range of its own."""

    measure: Literal["binary", "bounded"] = "bounded"  # binary: every score is one of the range's ends
    range: Range = Field(default_factory=lambda: [0.0, 1.0])  # the range of its scores, which is scaled to 0 to 1
    passes_at: float | None = None  # passed from this score on, as the grader gives it; binary: the range's upper end

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return self.measure

    @property
    def passes(self) -> bool:
        return self.scores == "binary" or self.passes_at is not None


class Sampled(Scored):
    """A grader that is given the completion as ``sample``."""

    response: str | dict[str, Any] | None = None  # schema of sample.output_json; by default that of task.response
