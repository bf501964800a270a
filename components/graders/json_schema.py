"""The completion is JSON that satisfies a schema."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex

from ratchet.components.errors import RecipeError
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule, right_or_wrong

LIBRARIES = ("jsonschema", "referencing", "regex")
SECONDS = 2.0  # per pattern and text


def rule(document: Mapping[str, Any]) -> Rule:
    """1 if the completion is JSON that satisfies the schema, else 0; no reference is needed.

    Raises:
        RecipeError: if the schema is not a valid JSON Schema, or refers to something outside of itself.
    """
    satisfies = validator_of(document, "the document of a json_schema grader")

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        try:
            value = json.loads(completion, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return right_or_wrong(False)
        try:
            return right_or_wrong(satisfies(value))
        except TimeoutError:
            return Grade(None, reason=f"a pattern of the schema took longer than {SECONDS:g} s", fault="timeout")

    return grade


def validator_of(document: Mapping[str, Any], name: str) -> Callable[[Any], bool]:
    """Whether a value satisfies a schema; it raises TimeoutError if a pattern takes too long.

    Args:
        name: of the schema, for messages.

    Raises:
        RecipeError: if the schema is not a valid JSON Schema, or refers to something outside of itself.
    """
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        place = "".join(f" at {step}" for step in ["/".join(map(str, error.absolute_path))] if step)
        raise RecipeError(f"{name} is not a JSON Schema{place}: {error.message:.300}. Correct it.") from error
    _closed(document, name)
    # An empty registry: nothing is ever downloaded.
    timed = validators.extend(Draft202012Validator, {"pattern": _pattern, "patternProperties": _pattern_properties})
    validator = timed(document, registry=Registry())

    def satisfies(value: Any) -> bool:
        try:
            return bool(validator.is_valid(value))
        except OverflowError:  # an integer beyond a float, under multipleOf
            return False

    return satisfies


def _matches(pattern: str, text: str) -> bool:
    """Raises TimeoutError: an expression can take exponential time on a text that a model writes."""
    return regex.search(pattern, text, timeout=SECONDS) is not None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not _matches(pattern, value):
        yield ValidationError("it does not match")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    for pattern, inner in patterns.items():
        for key, member in value.items() if isinstance(value, dict) else ():
            if _matches(pattern, key):
                yield from validator.descend(member, inner, path=key, schema_path=pattern)


def _closed(document: Mapping[str, Any], name: str) -> None:
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
        raise RecipeError(f"{name} refers to {named}, which is not in it. Nothing is fetched: put it under $defs.") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
