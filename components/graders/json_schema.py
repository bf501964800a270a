"""The completion is JSON that satisfies a schema."""

import json
from collections.abc import Mapping
from typing import Any

from ratchet.components.errors import RecipeError
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule, right_or_wrong

LIBRARIES = ("jsonschema", "referencing")


def rule(document: Mapping[str, Any]) -> Rule:
    """1 if the completion is JSON that satisfies the schema, else 0; no reference is needed.

    Raises:
        RecipeError: if the schema is not a valid JSON Schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        raise RecipeError(f"the document of a json_schema grader is not a JSON Schema: {error.message}. Correct it.") from error
    # An empty registry: an external $ref is an error of the grader, never a download.
    validator = Draft202012Validator(document, registry=Registry())

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        try:
            value = json.loads(completion, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return right_or_wrong(False)
        return right_or_wrong(validator.is_valid(value))

    return grade


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
