"""How far the completion's length is outside a range."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule


def rule(shortest: int, longest: int, slope: float) -> Rule:
    """1 from ``shortest`` to ``longest`` characters, then falling linearly to 0 over ``slope`` more or fewer."""

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        outside = max(shortest - len(completion), len(completion) - longest, 0)
        return Grade(max(0.0, 1.0 - outside / slope))

    return grade
