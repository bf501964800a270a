"""Graders that judge one completion by a rule, without a model or other code of the user."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ratchet.components.code.source_code import closure_digest
from ratchet.components.graders.protocol import BINARY, Grade, Measure
from ratchet.components.storage.digests import digest_of

Rule = Callable[[str, Mapping[str, Any]], Grade]  # a completion and its row


@dataclass(frozen=True)
class RuleGrader:
    """The grader of a rule."""

    rule: Rule
    digest: str
    measure: Measure = BINARY

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [self.rule(completion, row) for completion, row in zip(completions, rows, strict=True)]


def reference(row: Mapping[str, Any]) -> str | None:
    """The row's reference answer; None if it has none, so that completions cannot be judged against it."""
    answer = row.get("answer")
    return None if answer is None else str(answer)


def right_or_wrong(right: bool, answer: str | None = None) -> Grade:
    """A grade of 1 or 0."""
    return Grade(float(right), passed=right, answer=answer)


def grader_digest(module: str, parameters: object, libraries: Sequence[str] = ()) -> str:
    """sha256 of what decides a grader's grades.

    Args:
        module: ``__name__`` of its module; this and all that it imports counts.
        parameters: JSON.
        libraries: distributions that it calls; Python itself, with its Unicode tables, always counts.
    """
    versions = {name: version(name) for name in libraries} | {"python": platform.python_version()}
    return digest_of([closure_digest(module), parameters, versions])
