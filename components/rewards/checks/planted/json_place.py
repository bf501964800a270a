"""OpenAI's graders that read one place of the completion's JSON: their references as completions that have it there."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.graders.json_text import parse_json
from ratchet.components.recipe import Similarity, StringCheck
from ratchet.components.rewards.checks.planted.texts import form_of
from ratchet.components.templates import as_text, parse_template

Names = Sequence[str]
Value = Callable[[Mapping[str, Any]], Any]


def place_read(grader: Any) -> tuple[str, ...]:
    """The names down to the one place of ``sample.output_json`` that a grader reads; () if it reads anything else."""
    if not isinstance(grader, StringCheck | Similarity):
        return ()
    template = parse_template(grader.input)
    if template.literals != ("", "") or template.paths[0][:2] != ("sample", "output_json"):
        return ()
    names = template.paths[0][2:]
    return tuple(map(str, names)) if all(isinstance(name, str) for name in names) else ()


def whole(value: Value, names: Names) -> Value:
    """References with the rest of the completion where the row's answer has it: a schema may ask for more than one place."""

    def found(row: Mapping[str, Any]) -> Any:
        reference, answer = value(row), row.get("answer")
        same = reference is not None and isinstance(answer, str) and _at(names, answer) == as_text(reference)
        return answer if same else reference

    return found


def holding(names: Names) -> Callable[[str], str]:
    """A reference at its place of a JSON object; what has that place already stays as it is."""

    def written(reference: str) -> str:
        if _at(names, reference) is not None:
            return reference
        value: Any = reference
        for name in reversed(names):
            value = {name: value}
        return json.dumps(value, ensure_ascii=False)

    return written


def held(names: Names) -> Callable[[str], str]:
    """The form of what stands at the place; of a text without it that of the text."""

    def form(text: str) -> str:
        found = _at(names, text)
        return form_of(text if found is None else found)

    return form


def _at(names: Names, text: str) -> str | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return None if value is None else as_text(value)
