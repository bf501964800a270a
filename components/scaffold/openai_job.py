"""A reinforcement job of OpenAI's fine-tuning (Azure's too), as files of a project.

A job is read as ``GET /v1/fine_tuning/jobs/ID`` gives it or as ``POST`` took it; a grader's JSON alone will do.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.recipe.openai_graders import OpenAIGrader
from ratchet.components.scaffold.own import Own, first_rows, tried, values_of

GRADER, RESPONSE = "openai/grader.json", "openai/response.json"
METHOD = "reinforcement"
TRIED = 50  # rows on which references are tried
LARGEST = 2**20  # bytes of a job; a source has at most 256 kB
ELSEWHERE = {  # settings that mean something else here, or nothing, and where the like is set
    "n_epochs": "train.steps",
    "batch_size": "train.prompts",
    "learning_rate_multiplier": "train.lr: the rate that it multiplies is not published",
    "compute_multiplier": "train.k, the completions per prompt",
    "eval_interval": "train.evaluate_every",
    "eval_samples": "evaluation.samples",
    "reasoning_effort": "policy.max_new_tokens",
}


@dataclass(frozen=True)
class Job:
    """What a project takes from a job.

    Attributes:
        grader: OpenAI's JSON.
        schema: of ``response_format``, if the job has one.
        notes: on what is not taken, one per setting.
    """

    grader: Mapping[str, Any]
    schema: Mapping[str, Any] | None
    notes: tuple[str, ...]

    @property
    def files(self) -> dict[str, bytes]:
        """By path from the project's root."""
        texts = {GRADER: self.grader} | ({} if self.schema is None else {RESPONSE: self.schema})
        return {path: f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode() for path, value in texts.items()}


def read_job(path: Path) -> Job:
    """The job, or the grader, in a JSON file.

    Raises:
        RecipeError: if it is neither, is a job of another method, or has a grader that cannot run here.
    """
    values = _read(path)
    if "type" in values and "method" not in values:
        return Job(_checked(values, path), None, ())
    method = values.get("method")
    kind = method.get("type") if isinstance(method, Mapping) else None
    settings = method.get(METHOD) if isinstance(method, Mapping) else None
    if kind not in (None, METHOD) or not isinstance(settings, Mapping):
        said = f"is a job of the method {kind}" if kind else "has no method.reinforcement and is not a grader"
        raise RecipeError(f"{path} {said}. Give a reinforcement job's JSON, or that of its grader.")
    grader = settings.get("grader")
    if not isinstance(grader, Mapping):
        raise RecipeError(f"{path} has no method.reinforcement.grader. Give the whole job, or the grader's JSON.")
    return Job(_checked(grader, path), _schema(settings.get("response_format")), tuple(_notes(values, settings)))


def imported(own: Own, job: Job, named: bool = False) -> Own:
    """The project, judged by the job's grader, which also runs before its file is written.

    Its column of references is one only if the grader takes most answers made of them for right; else it is for the grader
    alone. To warm up on, they must be right as they are.

    Args:
        named: whether a person said which column has the references.
    """
    inline = TypeAdapter(OpenAIGrader).validate_python(dict(job.grader))
    here = {"grader": inline, "response": job.schema}
    response = None if job.schema is None else RESPONSE
    whole = replace(own, task="own", grader={"openai": GRADER}, here=here, response=response)
    rows = [row.reference for row in tried(whole, values_of(whole), TRIED) if row.reference is not None]
    if not named and 2 * sum(one.right for one in rows) <= len(rows):
        return replace(whole, columns=replace(whole.columns, right=None))
    texts = [row["answer"] for row in first_rows(whole, TRIED)]
    plain = sum(one.right and one.completion == text for one, text in zip(rows, texts, strict=False))
    return replace(whole, demonstrates=2 * plain > len(rows))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise RecipeError(f"{path} is larger than 1 MiB, so it is not a job. Give the job's JSON, not its rows.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}. Give the JSON file of a job.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not JSON: {f'{error}'[:200]}. Give the job as the API shows it.") from error
    if not isinstance(values, Mapping):
        raise RecipeError(f"{path} is not a JSON object. Give the job as the API shows it.")
    return values


def _checked(grader: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    try:
        TypeAdapter(OpenAIGrader).validate_python(dict(grader))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{path}: the grader{f' ({where})' if where else ''} cannot run here: {said}.") from error
    return grader


def _schema(response: Any) -> Mapping[str, Any] | None:
    """Of ``{type: json_schema, json_schema: {name, schema, strict}}``."""
    inner = response.get("json_schema") if isinstance(response, Mapping) else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _notes(job: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(job.get("model"), str):
        yield f"{job['model']} cannot be trained outside of OpenAI: choose policy.model"
    given = settings.get("hyperparameters")
    for name, value in (given if isinstance(given, Mapping) else {}).items():
        if value not in (None, "auto", "default") and name in ELSEWHERE:
            yield f"{name} {value} is not taken over; see {ELSEWHERE[name]}"
