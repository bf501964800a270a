"""Graders that judge one completion by a rule: number, exact match, regex, choice, JSON, length."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.components.errors import RecipeError
from ratchet.components.graders.number import grade_number
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.recipe import Choice, Exact, JsonSchema, Length, Numbers, Pattern, Verifier

Rule = Callable[[str, Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class RuleGrader:
    """The reward of a rule: a completion and its row in, a number or None (cannot be judged) out."""

    rule: Rule

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        values = [self.rule(completion, row) for completion, row in zip(completions, rows, strict=True)]
        return [Grade(value, {} if value is None else {"verifier": value}) for value in values]


def build_grader(settings: Verifier) -> RewardFunction:
    """The grader of a recipe's section ``reward.verifier``.

    Raises:
        RecipeError: if its JSON Schema is not valid.
    """
    return RuleGrader(_rule(settings))


def _rule(settings: Verifier) -> Rule:
    match settings:
        case Numbers():
            return number_rule(settings.form == "strict", settings.last_number)
        case Exact():
            return exact_rule(settings.ignore_case)
        case Pattern():
            return pattern_rule(settings.pattern, settings.whole)
        case Choice():
            return choice_rule(settings.options)
        case JsonSchema():
            return json_rule(settings.document)
        case Length():
            return length_rule(settings.shortest, settings.longest, settings.slope)


def reference(row: Mapping[str, Any]) -> str | None:
    """The row's reference answer; None if it has none, so that completions cannot be judged against it."""
    answer = row.get("answer")
    return None if answer is None else str(answer)


def number_rule(strict: bool, last_number: bool) -> Rule:
    """1 if the final number is the reference's, else 0; None if the reference is not a single number."""

    return lambda completion, row: grade_number(completion, row.get("answer"), strict, last_number).score


def exact_rule(ignore_case: bool) -> Rule:
    """1 if the stripped completion is the stripped reference, else 0."""

    def form(text: str) -> str:
        return text.strip().casefold() if ignore_case else text.strip()

    def rule(completion: str, row: Mapping[str, Any]) -> float | None:
        answer = reference(row)
        return None if answer is None else float(form(completion) == form(answer))

    return rule


def pattern_rule(pattern: str, whole: bool) -> Rule:
    """1 if the expression is found, else 0; no reference is needed. ``.`` matches line ends."""
    compiled = re.compile(pattern, re.DOTALL)
    find = compiled.fullmatch if whole else compiled.search
    return lambda completion, row: float(find(completion) is not None)


def choice_rule(options: Sequence[str]) -> Rule:
    """1 if the last option named in the completion equals that of the reference, else 0."""
    longest_first = sorted(map(re.escape, options), key=len, reverse=True)
    named = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)")

    def last(text: str) -> str | None:
        found = named.findall(text)
        return found[-1] if found else None

    def rule(completion: str, row: Mapping[str, Any]) -> float | None:
        expected = last(reference(row) or "")
        return None if expected is None else float(last(completion) == expected)

    return rule


def json_rule(document: Mapping[str, Any]) -> Rule:
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
        raise RecipeError(f"reward.verifier.document is not a JSON Schema: {error.message}. Correct it.") from error
    # An empty registry: an external $ref is an error of the grader, never a download.
    validator = Draft202012Validator(document, registry=Registry())

    def rule(completion: str, row: Mapping[str, Any]) -> float | None:
        try:
            value = json.loads(completion, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return 0.0
        return float(validator.is_valid(value))

    return rule


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def length_rule(shortest: int, longest: int, slope: float) -> Rule:
    """1 from ``shortest`` to ``longest`` characters, then falling linearly to 0 over ``slope`` more or fewer."""

    def rule(completion: str, row: Mapping[str, Any]) -> float | None:
        outside = max(shortest - len(completion), len(completion) - longest, 0)
        return max(0.0, 1.0 - outside / slope)

    return rule
