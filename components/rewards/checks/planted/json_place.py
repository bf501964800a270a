"""OpenAI's graders that read one place of the completion's JSON: their references as completions that have it there."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.graders.json_text import parse_json
from ratchet.components.recipe import Similarity, StringCheck
from ratchet.components.rewards.checks.planted.texts import form_of
from ratchet.components.templates import AbsentError, as_text, follow, parse_template

Steps = Sequence[str | int]
Value = Callable[[Mapping[str, Any]], Any]


def place_read(grader: Any) -> Steps:
    """Names and positions down to the one place of ``sample.output_json`` that a grader reads; else ()."""
    if not isinstance(grader, StringCheck | Similarity):
        return ()
    template = parse_template(grader.input)
    if template.literals != ("", "") or template.paths[0][:2] != ("sample", "output_json"):
        return ()
    return template.paths[0][2:]


def whole(value: Value, steps: Steps) -> Value:
    """References as completions: a row's answer where it has the reference at that place, else an object that has it.

    A schema may ask for more than the one place.
    """

    def found(row: Mapping[str, Any]) -> str | None:
        reference, answer = value(row), row.get("answer")
        if reference is None:
            return None
        same = isinstance(answer, str) and _at(steps, answer) == as_text(reference)
        return str(answer) if same else json.dumps(_around(steps, reference), ensure_ascii=False)

    return found


def _around(steps: Steps, value: Any) -> Any:
    for step in reversed(steps):
        value = {step: value} if isinstance(step, str) else [value] * (step + 1)
    return value


def held(steps: Steps) -> Callable[[str], str]:
    """The form of what stands at the place; of a text without it that of the text."""

    def form(text: str) -> str:
        found = _at(steps, text)
        return form_of(text if found is None else found)

    return form


def _at(steps: Steps, text: str) -> str | None:
    try:
        value = follow(("item", *steps), {"item": parse_json(text)})
    except (ValueError, AbsentError):
        return None
    return None if value is None else as_text(value)
