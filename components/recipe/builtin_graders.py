"""Settings of the graders that are built in, of which each judges one completion by itself."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ratchet.components.recipe.base import Count, Positive, Section, Share
from ratchet.components.recipe.grader_base import REFERENCE, GraderSection, OfItem

Tolerance = Annotated[float, Field(ge=0)]
NOT_OFFERED = {
    "cosine": "it needs an embedding model; use fuzzy_match, or a function of your own",
    "meteor": "it needs WordNet, which would have to be downloaded; use rouge_l",
    "bleu": "it is defined for a corpus, and for one text depends on a smoothing that nobody states; use gleu",
}


class Numbers(GraderSection):
    """The final number equals the reference answer's."""

    type: Literal["number"] = "number"
    form: Literal["strict", "lenient"] = "lenient"  # strict: only #### N; lenient: also A: N, \\boxed{N}, the answer is N
    last_number: bool = False  # with lenient: take the last number of the text if there is no marker


class Exact(GraderSection):
    """The whole completion equals the reference answer, ignoring outer white space."""

    type: Literal["exact"]
    ignore_case: bool = True  # upper and lower case count as the same


class Pattern(GraderSection):
    """A regular expression matches the completion."""

    type: Literal["regex"]
    pattern: str  # a regular expression of Python's re
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
    # As completions name them.
    options: Annotated[list[str], Field(min_length=2)] = Field(default_factory=lambda: ["A", "B", "C", "D"])


class JsonSchema(GraderSection):
    """The completion is JSON that satisfies a JSON Schema (draft 2020-12); external schemas are not fetched."""

    type: Literal["json_schema"]
    document: dict[str, Any]  # the schema itself


class Length(GraderSection):
    """1 between two lengths, falling linearly to 0 outside of them."""

    type: Literal["length"]
    shortest: Annotated[int, Field(ge=0)] = 0  # characters
    longest: Count  # characters
    slope: Positive = 50.0  # characters over which the reward falls to 0

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded"

    @model_validator(mode="after")
    def _in_order(self) -> "Length":
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is above longest {self.longest}; swap them")
        return self


class Label(GraderSection):
    """Classification: the completion names the reference's label, of a fixed set."""

    type: Literal["label"]
    labels: Annotated[list[str], Field(min_length=2)]  # all that there are
    reference: OfItem = REFERENCE  # the right label, from the row
    take: Literal["whole", "last_line"] = "whole"  # the part of the completion that must be the label
    field: str | None = None  # the completion is a JSON object, and this key holds the label
    ignore_case: bool = True  # upper and lower case count as the same
    weights: dict[str, Positive] | None = None  # the score of a right answer, by label; of the gold also: balanced

    @field_validator("weights", mode="before")
    @classmethod
    def _written_out(cls, weights: Any) -> Any:
        if weights == "balanced":
            raise ValueError(
                "balanced is for the grader that gold.grader names, and makes the gate judge by balanced accuracy. Of other "
                "graders weights are written out, n / (k n_label) by the training rows: they must not follow the data"
            )
        return weights

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded" if self.weights else "binary"

    @property
    def passes(self) -> bool:
        return True

    @model_validator(mode="after")
    def _labels_differ(self) -> "Label":
        forms = [label.strip().casefold() if self.ignore_case else label.strip() for label in self.labels]
        if len(set(forms)) < len(forms) or "" in forms:
            raise ValueError("two labels are the same, or one is empty; make them distinct")
        if self.weights is not None and set(self.weights) != set(self.labels):
            raise ValueError("weights must have one entry per label; complete them")
        return self


class Compared(Section):
    """How one field of a JSON object is compared with the reference's."""

    # How; auto: by the type of the reference.
    by: Literal["auto", "text", "number", "date", "ordered", "unordered", "exact", "ignore"] = "auto"
    abs: Tolerance = 0.0  # numbers: the absolute tolerance; the larger of the two counts
    rel: Tolerance = 0.0  # numbers: the tolerance as a share of the reference
    ignore_case: bool = True  # texts


def _compared(value: Any) -> Any:
    """The short forms: ``date``, ``{number: {abs: 0.01}}``, ``{list: unordered}``."""
    if isinstance(value, str):
        return {"by": value}
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        if name == "list" and isinstance(options, str):
            return {"by": options}
        if name in ("text", "number", "ordered", "unordered", "auto") and isinstance(options, dict):
            return {"by": name, **options}
    return value


class JsonMatch(GraderSection):
    """The completion is a JSON object whose fields equal the reference's: all right is passed, F1 over fields the score."""

    type: Literal["json_match"]
    reference: OfItem = REFERENCE  # the right object, from the row
    fields: dict[str, Annotated[Compared, BeforeValidator(_compared)]] = Field(default_factory=dict)  # by path: vendor.name
    others: Literal["auto", "ignore"] = "auto"  # fields of either side that are not named above
    score: Literal["f1", "all"] = "f1"  # all: 1 if every field is right, else 0

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded" if self.score == "f1" else "binary"

    @property
    def passes(self) -> bool:
        return True


class TextSimilarity(GraderSection):
    """How similar the completion is to the reference, from 0 to 1."""

    type: Literal["text_similarity"]
    # How the similarity is computed.
    metric: Literal[
        "fuzzy_match", "gleu", "chrf", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
    ] = "fuzzy_match"  # fmt: skip
    reference: OfItem = REFERENCE  # the text to resemble, from the row
    passes_at: Share | None = None  # passed from this score on; null: it only scores

    @property
    def scores(self) -> Literal["binary", "bounded"]:
        return "bounded"

    @property
    def passes(self) -> bool:
        return self.passes_at is not None

    @field_validator("metric", mode="before")
    @classmethod
    def _offered(cls, metric: Any) -> Any:
        if metric in NOT_OFFERED:
            raise ValueError(f"{metric} is not offered: {NOT_OFFERED[metric]}")
        return metric


class Math(GraderSection):
    """The completion's mathematical answer is equivalent to the reference's (math-verify; extra ``math``)."""

    type: Literal["math"]
    reference: OfItem = REFERENCE  # the right answer, from the row
    seconds: Positive = 5.0  # per completion, of wall time; beyond it the completion cannot be judged


class Sql(GraderSection):
    """The completion is a query whose result on a SQLite file equals the reference query's."""

    type: Literal["sql"]
    database: OfItem  # path from the project's root, with {{item.x}} for a name: databases/{{item.db}}.sqlite
    reference: OfItem = REFERENCE  # the right query, from the row
    dialect: str | None = None  # the SQL dialect of completions and references, if not SQLite's; needs the extra sql
    abs: Tolerance = 0.0  # absolute tolerance of numbers
    rel: Tolerance = 1e-9  # tolerance as a share of the reference's number
    steps: Count = 50_000_000  # of SQLite's virtual machine, after which a query has failed: the same on every machine
    seconds: Positive = 30.0  # wall time, after which the query's process is ended and it cannot be judged
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # rows of a reference's result at most

    @field_validator("dialect")
    @classmethod
    def _a_name(cls, dialect: str | None) -> str | None:
        if dialect is not None and not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", dialect):
            raise ValueError("is not the name of a dialect, such as postgres")
        return dialect
