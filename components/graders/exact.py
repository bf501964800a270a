"""The whole completion is the reference."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule, reference, right_or_wrong


def rule(ignore_case: bool) -> Rule:
    """1 if the stripped completion is the stripped reference, else 0."""

    def form(text: str) -> str:
        return text.strip().casefold() if ignore_case else text.strip()

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        expected, answer = reference(row), form(completion)
        return Grade(None) if expected is None else right_or_wrong(answer == form(expected), answer or None)

    return grade
