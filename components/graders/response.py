"""The JSON of completions: parsed once for all graders, and checked against the schema of ``task.response`` if there is one."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.json_files import read_json_file
from ratchet.components.graders.json_schema import SECONDS, validator_of
from ratchet.components.graders.json_text import parse_json
from ratchet.components.storage.home import project_root

KEY = "task.response.json_schema"
KEPT = 4096  # parsed completions: the graders of a batch see the same ones


def schema_text(given: str | Mapping[str, Any] | None) -> str | None:
    """A schema, or that of a file, as canonical JSON.

    Raises:
        RecipeError: if the file cannot be read, or it is not a valid schema, or refers to something outside of itself.
    """
    if given is None:
        return None
    document = (
        read_json_file(project_root() / given, "Give the JSON file of a schema.", f"{KEY}: ")
        if isinstance(given, str)
        else given
    )
    text = json.dumps(document, sort_keys=True)
    _validator(text, f"{KEY}: {given}" if isinstance(given, str) else KEY)
    return text


def sample_of(completion: str, schema: str | None = None) -> dict[str, Any]:
    """``output_text`` and ``choices``; ``output_json`` only if the completion is JSON, and satisfies the schema.

    Raises:
        FaultError: if a pattern of the schema takes too long on it.
    """
    sample = {"output_text": completion, "choices": [{"message": {"role": "assistant", "content": completion}}]}
    return {**sample, **deepcopy(_output(completion, schema))}  # a user's function may change what it is given


@lru_cache(KEPT)
def _output(completion: str, schema: str | None) -> Mapping[str, Any]:
    try:
        value = parse_json(completion)
    except ValueError:
        return {}
    try:
        return {"output_json": value} if schema is None or _validator(schema, KEY)(value) else {}
    except TimeoutError as error:
        raise FaultError("timeout", f"a pattern of {KEY} took longer than {SECONDS:g} s") from error


@lru_cache(64)
def _validator(schema: str, name: str) -> Callable[[Any], bool]:
    return validator_of(json.loads(schema), name)
