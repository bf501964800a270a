"""OpenAI's grader JSON, run as it is: string_check, text_similarity, python and multi.

A template that reads what the completion lacks, such as ``sample.output_json`` of a text, scores 0; one that reads what the row
lacks is a fault.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.formula import parse_formula
from ratchet.components.graders import protocols
from ratchet.components.graders.json_files import read_json_file
from ratchet.components.graders.multi import Combined
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.graders.spaces import filled
from ratchet.components.graders.text_similarity import graded, metric_of
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import Limits, OpenAIGrader, OpenAIMulti, OpenAIPython, StringCheck
from ratchet.components.templates import parse_template

GRADER: TypeAdapter[OpenAIGrader] = TypeAdapter(OpenAIGrader)

_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


def read_grader(source: str | Mapping[str, Any], root: Path) -> OpenAIGrader:
    """A grader of a JSON file, by its path from the project's root, or as the recipe holds it.

    Raises:
        RecipeError: naming the file and the key.
    """
    name = source if isinstance(source, str) else "the grader"
    values = read_json_file(root / source, "Give a grader's JSON file.") if isinstance(source, str) else source
    try:
        return GRADER.validate_python(values)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, one['loc'])) or 'grader'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise RecipeError("\n".join([f"{name} is not a grader that Ratchet can run:", *lines])) from error


def openai_function(
    settings: OpenAIGrader, limits: Limits, environment: Sequence[str], key: str, schema: str | None = None
) -> RewardFunction:
    """What runs a grader; python sources run in the worker's process, within limits.

    Args:
        schema: of ``sample.output_json``, as JSON.
    """
    match settings:
        case OpenAIPython():
            options = {"source": settings.source, "protocol": "openai"}
            adapter = f"{protocols.__name__}:serve"
            target = f"{protocols.__name__}:inline"
            return Worker(target, limits, adapter=adapter, options=options, environment=environment, key=key, schema=schema)
        case OpenAIMulti():
            graders = {
                name: openai_function(one, limits, environment, f"{key}.graders.{name}", schema)
                for name, one in settings.graders.items()
            }
            return Combined(parse_formula(settings.calculate_output), graders)
        case StringCheck():
            check = _CHECKS[settings.operation]
            return _Texts(settings.input, settings.reference, lambda text, reference: _checked(check(text, reference)), schema)
    metric = metric_of(settings.evaluation_metric)
    threshold = settings.pass_threshold
    return _Texts(
        settings.input, settings.reference, lambda text, reference: graded(metric(text, reference), threshold), schema
    )


def _checked(right: bool) -> Grade:
    return Grade(float(right), passed=right)


@dataclass(frozen=True)
class _Texts:
    """Judges one rendered text by another."""

    input: str
    reference: str
    judge: Callable[[str, str], Grade]
    schema: str | None = None

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [self._one(completion, row) for completion, row in zip(completions, rows, strict=True)]

    def _one(self, completion: str, row: Mapping[str, Any]) -> Grade:
        texts = filled((parse_template(self.input), parse_template(self.reference)), completion, row, self.schema)
        return texts if isinstance(texts, Grade) else self.judge(*texts)
