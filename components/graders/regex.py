"""A regular expression matches the completion.

Expressions can take exponential time on a text that a model writes; the library ``regex`` ends them, which ``re`` cannot.
"""

from collections.abc import Mapping
from typing import Any

import regex

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule, right_or_wrong

LIBRARIES = ("regex",)
SECONDS = 2.0  # per completion


def rule(pattern: str, whole: bool) -> Rule:
    """1 if the expression is found, else 0; no reference is needed. ``.`` matches line ends. Without an end it is a fault."""
    compiled = regex.compile(pattern, regex.DOTALL | regex.VERSION0)
    find = compiled.fullmatch if whole else compiled.search

    def grade(completion: str, row: Mapping[str, Any]) -> Grade:
        try:
            return right_or_wrong(find(completion, timeout=SECONDS) is not None)
        except TimeoutError:
            reason = f"the expression took longer than {SECONDS:g} s. Write it without nested repetitions"
            return Grade(None, reason=reason, fault="timeout")

    return grade
