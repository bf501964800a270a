"""Graders that are not ours alone: a user's function, math-verify and SQLite in the worker's process, services, OpenAI JSON."""

from typing import Any

from ratchet.components.code.user_sources import files_read, source_digests
from ratchet.components.graders import (
    http_service,
    json_schema,
    math_answers,
    openai_json,
    protocols,
    sql,
    sql_run,
    text_similarity,
)
from ratchet.components.graders.protocol import BINARY, BOUNDED, Grader, RewardFunction
from ratchet.components.graders.response import schema_text
from ratchet.components.graders.rule import grader_digest
from ratchet.components.graders.verdicts import Scorer
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import Http, Limits, Math, OpenAI, Reward, Sql, UserFunction
from ratchet.components.storage.digests import kept_digest
from ratchet.components.storage.home import project_root

MATH_LIBRARIES = ("math-verify", "latex2sympy2-extended", "sympy")
ADAPTER = f"{protocols.__name__}:serve"


def user_grader(settings: UserFunction, key: str = "file") -> Grader:
    """A user's function as a grader. It is loaded by the first call, not here.

    Args:
        key: the recipe's key that names the function, for messages.

    Raises:
        RecipeError: if there is no such file or module.
    """
    decides = settings.model_dump(mode="json", exclude={"limits", "environment", "file", "files", "response"})
    name, schema = settings.file.rpartition(":")[2], schema_text(settings.response)
    read = {one: kept_digest(file) for one, file in files_read(settings.files, f"files of {key}").items()}
    decided_by = [decides, name, source_digests(settings.file) | read, schema]
    digest = grader_digest(protocols.__name__, decided_by, _libraries(schema))
    return _scorer(user_worker(settings, key), digest, settings)


def user_worker(settings: UserFunction, key: str, **more: Any) -> Worker:
    """The worker of a user's function; ``more`` are options of the adapter."""
    options = {**settings.model_dump(include={"protocol", "reference", "form"}), **more}
    schema = schema_text(settings.response)
    common: dict[str, Any] = {"environment": settings.environment, "key": key, "schema": schema}
    return Worker(settings.file, settings.limits, adapter=ADAPTER, options=options, **common)


def reward_worker(function: str, settings: Reward, key: str = "reward.function") -> Worker:
    """The worker of a function that is a reward, or a term of one: of any protocol.

    The three parameters of Ratchet's own may have other names, which were free before protocols were known.
    """
    schema = schema_text(settings.response)
    common: dict[str, Any] = {"environment": settings.environment, "key": key, "schema": schema}
    return Worker(function, settings.limits, adapter=ADAPTER, options={"positional": True}, **common)


def math_grader(settings: Math) -> Grader:
    """math-verify in the worker's process, where an expression that it cannot finish is ended with the process."""
    limits = Limits(seconds=settings.seconds, memory_mb=1024, processes=1)
    adapter = f"{math_answers.__name__}:serve"
    worker = Worker(f"{math_answers.__name__}:verified", limits, adapter=adapter, options={"reference": settings.reference})
    digest = grader_digest(math_answers.__name__, settings.model_dump(mode="json", exclude={"seconds"}), MATH_LIBRARIES)
    return Scorer(worker, digest, BINARY)


def sql_grader(settings: Sql, digest: str) -> Grader:
    """Queries in the worker's process: SQLite looks at no clock within an instruction, and limits memory per process."""
    limits = Limits(seconds=settings.seconds, memory_mb=4 * sql_run.MEMORY_MB, processes=1)
    options = settings.model_dump(mode="json", exclude={"type", "seconds"})
    return Scorer(Worker(f"{sql.__name__}:rule", limits, adapter=f"{sql.__name__}:serve", options=options), digest, BINARY)


def http_grader(settings: Http) -> Grader:
    """A service as a grader. Its digest holds its address and the revision that the recipe states, not what it runs."""
    decides = settings.model_dump(mode="json", include={"url", "revision", "measure", "range", "passes_at"})
    schema = schema_text(settings.response)
    service = http_service.Service(settings.url, settings.token, settings.seconds, settings.retries, settings.parallel, schema)
    return _scorer(service, grader_digest(http_service.__name__, [decides, schema], _libraries(schema)), settings)


def openai_grader(settings: OpenAI, key: str) -> Grader:
    """OpenAI's grader JSON, as it is.

    Raises:
        RecipeError: if its file is not there, or is not such a grader.
    """
    inline = settings.grader
    grader = openai_json.read_grader(inline, project_root()) if isinstance(inline, str) else inline
    schema = schema_text(settings.response)
    function = openai_json.openai_function(grader, settings.limits, settings.environment, key, schema)
    decides = settings.model_dump(mode="json", exclude={"limits", "environment", "grader", "response"})
    libraries = (*text_similarity.LIBRARIES, *_libraries(schema))
    digest = grader_digest(openai_json.__name__, [decides, grader.model_dump(mode="json"), schema], libraries)
    return _scorer(function, digest, settings)


def _libraries(schema: str | None) -> tuple[str, ...]:
    return json_schema.LIBRARIES if schema else ()


def _scorer(function: RewardFunction, digest: str, settings: UserFunction | Http | OpenAI) -> Scorer:
    measure = BINARY if settings.scores == "binary" else BOUNDED
    return Scorer(function, digest, measure, (settings.range[0], settings.range[1]), settings.passes_at)
