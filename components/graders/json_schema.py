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
        RecipeError: if the schema is not a valid JSON Schema, or refers to something outside of itself.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        raise RecipeError(f"the document of a json_schema grader is not a JSON Schema: {error.message}. Correct it.") from error
    _closed(document)
    # An empty registry: nothing is ever downloaded.
    validator = Draft202012Validator(document, registry=Registry())

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        try:
            value = json.loads(completion, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return right_or_wrong(False)
        return right_or_wrong(validator.is_valid(value))

    return grade


def _closed(document: Mapping[str, Any]) -> None:
    """Refuse a schema whose references cannot be followed: to a file, to the network, or to a part that it does not have."""
    from referencing import Registry, exceptions
    from referencing.jsonschema import DRAFT202012

    def follow(value: Any, resolver: Any) -> None:
        for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            inner = resolver
            if isinstance(member, dict) and isinstance(member.get("$id"), str):
                inner = resolver.in_subresource(DRAFT202012.create_resource(member))
            follow(member, inner)
        for key in ("$ref", "$dynamicRef"):
            if isinstance(value, dict) and isinstance(value.get(key), str):
                resolver.lookup(value[key])

    resource = DRAFT202012.create_resource(document)
    try:
        follow(document, Registry().resolver_with_root(resource))
    except (exceptions.Unresolvable, RecursionError) as error:
        named = getattr(error, "ref", "itself without end")
        raise RecipeError(
            f"the document of a json_schema grader refers to {named}, which is not in it. "
            "Nothing is fetched: put it under $defs."
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
