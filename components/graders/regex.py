"""A regular expression matches the completion."""

import re

from ratchet.components.graders.rule import Rule, right_or_wrong


def rule(pattern: str, whole: bool) -> Rule:
    """1 if the expression is found, else 0; no reference is needed. ``.`` matches line ends."""
    compiled = re.compile(pattern, re.DOTALL)
    find = compiled.fullmatch if whole else compiled.search
    return lambda completion, row: right_or_wrong(find(completion) is not None)
