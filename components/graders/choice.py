"""The last option that the completion names is that of the reference."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule, reference, right_or_wrong


def rule(options: Sequence[str]) -> Rule:
    """1 if the last option named in the completion equals that of the reference, else 0."""
    last = last_named(options)

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        expected, answer = last(reference(row) or ""), last(completion)
        return Grade(None) if expected is None else right_or_wrong(answer == expected, answer)

    return grade


def last_named(options: Sequence[str]) -> Callable[[str], str | None]:
    """A function from a text to the last option that it names, or None."""
    longest_first = sorted(map(re.escape, options), key=len, reverse=True)
    named = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)")

    def last(text: str) -> str | None:
        found = named.findall(text)
        return found[-1] if found else None

    return last
