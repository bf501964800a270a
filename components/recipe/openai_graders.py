"""OpenAI's grader JSON, as its fine-tuning API takes it (Azure's too): string_check, text_similarity, python, multi.

Names, keys and templates are OpenAI's. What Ratchet cannot run is refused with the reason, not skipped.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from ratchet.components.formula import parse_formula
from ratchet.components.recipe.base import Section
from ratchet.components.recipe.builtin_graders import NOT_OFFERED
from ratchet.components.recipe.grader_base import Sampled
from ratchet.components.recipe.limits import Limits
from ratchet.components.templates import parse_template

LARGEST_SOURCE = 256_000  # bytes, as there
LATER = ("score_model", "label_model")  # they need a judge, which is not built yet


def _a_template(text: str) -> str:
    parse_template(text)
    return text


Text = Annotated[str, AfterValidator(_a_template)]


class StringCheck(Section):
    """``eq`` and ``ne`` compare; ``like`` and ``ilike`` ask whether the input contains the reference, ilike in any case."""

    type: Literal["string_check"]
    name: str = ""  # not used
    input: Text  # a template
    reference: Text  # a template
    operation: Literal["eq", "ne", "like", "ilike"]  # how they are compared


class Similarity(Section):
    """How similar the input is to the reference."""

    type: Literal["text_similarity"]
    name: str = ""  # not used
    input: Text  # a template
    reference: Text  # a template
    # As in text_similarity.
    evaluation_metric: Literal["fuzzy_match", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"]
    pass_threshold: float | None = None  # passed from this score on

    @field_validator("evaluation_metric", mode="before")
    @classmethod
    def _offered(cls, metric: Any) -> Any:
        if metric in NOT_OFFERED:
            raise ValueError(f"{metric} is not offered: {NOT_OFFERED[metric]}")
        return metric


class OpenAIPython(Section):
    """A source that defines ``grade(sample, item)``; it runs in the worker's process."""

    type: Literal["python"]
    name: str = ""  # not used
    source: Annotated[str, Field(max_length=LARGEST_SOURCE)]  # Python that defines grade(sample, item)
    image_tag: str | None = None  # OpenAI's image; not used


class OpenAIMulti(Section):
    """A formula over other graders."""

    type: Literal["multi"]
    name: str = ""  # not used
    graders: Annotated[dict[str, "OpenAIGrader"], Field(min_length=1)]  # graders, by the names that calculate_output uses
    calculate_output: str  # a formula over them

    @model_validator(mode="after")
    def _formula_is_over_them(self) -> "OpenAIMulti":
        unknown = parse_formula(self.calculate_output).names - set(self.graders)
        if unknown:
            known = ", ".join(self.graders)
            raise ValueError(f"calculate_output names {', '.join(sorted(unknown))}, and the graders are {known}; correct it")
        return self


def _offered(values: Any) -> Any:
    kind = values.get("type") if isinstance(values, dict) else None
    if kind in LATER:
        raise ValueError(f"{kind} comes later: it needs a judge. Remove it, or write a grader of another type")
    return values


OpenAIGrader = Annotated[
    Annotated[StringCheck | Similarity | OpenAIPython | OpenAIMulti, Field(discriminator="type")], BeforeValidator(_offered)
]
OpenAIMulti.model_rebuild()


class OpenAI(Sampled):
    """A grader of OpenAI's, as the recipe holds it or in a JSON file."""

    type: Literal["openai"]
    # A JSON file, or the grader itself.
    grader: Annotated[
        Annotated[str, Tag("file")] | Annotated[OpenAIGrader, Tag("inline")],
        Discriminator(lambda value: "file" if isinstance(value, str) else "inline"),
    ]
    limits: Limits = Limits()  # limits on the process of each python source
    environment: list[str] = Field(default_factory=list)  # names of variables that its sources need

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "binary" if isinstance(self.grader, StringCheck) else self.measure
