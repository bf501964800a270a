"""A reinforcement job of OpenAI's fine-tuning (Azure's too), as files of a project.

A job is read as ``GET /v1/fine_tuning/jobs/ID`` gives it or as ``POST`` took it; a grader's JSON alone will do.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ratchet.components.errors import RecipeError
from ratchet.components.graders.json_files import read_json_file
from ratchet.components.graders.openai_json import read_grader
from ratchet.components.scaffold.own import Own, tried, usable_rows, values_of

GRADER, RESPONSE = "openai/grader.json", "openai/response.json"
METHOD = "reinforcement"
TRIED = 50  # rows on which references are tried
REMEDY = "Give the JSON of a job, as the API shows it."
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
        # In ASCII: a text of the job may have a lone surrogate, which no encoding can write.
        return {path: f"{json.dumps(value, indent=2)}\n".encode() for path, value in texts.items()}


def read_job(path: Path) -> Job:
    """The job, or the grader, in a JSON file.

    Raises:
        RecipeError: if it is neither, is a job of another method, or has a grader that cannot run here.
    """
    values = _read(path)
    if "type" in values and "method" not in values:
        read_grader(values, path.parent)  # refuses what cannot run here
        return Job(values, None, ())
    method = values.get("method")
    kind = method.get("type") if isinstance(method, Mapping) else None
    settings = method.get(METHOD) if isinstance(method, Mapping) else None
    if kind not in (None, METHOD) or not isinstance(settings, Mapping):
        said = f"is a job of the method {kind}" if kind else "has no method.reinforcement and is not a grader"
        raise RecipeError(f"{path} {said}. Give a reinforcement job's JSON, or that of its grader.")
    grader = settings.get("grader")
    if not isinstance(grader, Mapping):
        raise RecipeError(f"{path} has no method.reinforcement.grader. Give the whole job, or the grader's JSON.")
    read_grader(grader, path.parent)
    return Job(grader, _schema(settings.get("response_format")), tuple(_notes(values, settings)))


def imported(own: Own, job: Job, named: bool = False) -> Own:
    """The project, judged by the job's grader, which also runs before its file is written.

    Its column of references is one only if the grader takes most answers made of them for right; else it is for the grader
    alone. To warm up on, they must be right as they are.

    Args:
        named: whether a person said which column has the references.
    """
    here = {"grader": read_grader(job.grader, Path()), "response": job.schema}
    response = None if job.schema is None else RESPONSE
    whole = replace(own, task="own", grader={"openai": GRADER}, here=here, response=response)
    rows = [row.reference for row in tried(whole, values_of(whole), TRIED) if row.reference is not None]
    if not named and 2 * sum(one.right for one in rows) <= len(rows):
        return replace(whole, columns=replace(whole.columns, right=None))
    texts = [row["answer"] for row in usable_rows(whole, TRIED)]
    plain = sum(one.right and one.completion == text for one, text in zip(rows, texts, strict=False))
    return replace(whole, demonstrates=2 * plain > len(rows))


def _read(path: Path) -> Mapping[str, Any]:
    values = read_json_file(path, REMEDY)
    if not isinstance(values, Mapping):
        raise RecipeError(f"{path} is not a JSON object. {REMEDY}")
    return values


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
