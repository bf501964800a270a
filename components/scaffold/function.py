"""A user's function as the gold: its protocol is found, and its range by what it says of the first rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ratchet.components.errors import RecipeError, RewardError
from ratchet.components.graders.outside import user_worker
from ratchet.components.graders.protocol import Grade
from ratchet.components.recipe import UserFunction
from ratchet.components.scaffold.judged import Judged, JudgedRow, judged

KEY = "--grader"
SECONDS = 10.0  # per call, while it is only tried


@dataclass(frozen=True)
class Inspected:
    """What is known of a function without its source being read.

    Attributes:
        settings: of the grader, as the recipe has them.
        signature: the function's, with the protocol that it fits.
        faults: what went wrong in calls, one line each; no call was right or wrong by it.
        low: references that it gives no higher score than an empty answer, or where it fails on those, than any.
        references: that it gave a score.
    """

    settings: dict[str, Any]
    signature: str
    faults: list[str]
    low: int = 0
    references: int = 0


def inspected(file: str, here: str, rows: Sequence[Mapping[str, Any]]) -> Inspected:
    """Load a function in the limited process of graders, and have it judge answers to rows.

    Args:
        file: ``FILE:function`` as the recipe has it.
        here: the same as it is found from the working directory.
        rows: raw rows.

    Raises:
        RecipeError: if there is no such function, it cannot be imported, or its signature fits no protocol.
    """
    settings = _settings(here)
    try:
        with closing(user_worker(settings, KEY)) as worker:
            facts = worker.start()
            _require_grades(judged(worker, settings, rows[:1]), (rows[0].get("item") or {}) if rows else ())
            found = judged(worker, settings, rows)
    except RewardError as error:
        raise RecipeError(str(error)) from error
    signature = f"{facts['signature']}, protocol {facts['protocol']}"
    grades = [one.grade for row in found for one in (row.empty, row.reference, row.other) if one is not None]
    faults = list(dict.fromkeys(f"{grade.fault}: {grade.reason}" for grade in grades if grade.fault is not None))
    right = _scores(row.reference for row in found)
    wrong = max(_scores(row.empty for row in found), default=min(_scores(row.other for row in found), default=-math.inf))
    higher = [score for score in right if score > wrong]
    return Inspected({"file": file, **_measure(right, higher, grades)}, signature, faults, len(right) - len(higher), len(right))


def _require_grades(found: Sequence[JudgedRow], item: Iterable[str]) -> None:
    """Refuse a function that fails on every answer to the first row: nothing could be known of its scores.

    Raises:
        RecipeError: with the first fault.
    """
    grades = [one.grade for row in found for one in (row.empty, row.reference) if one is not None]
    if grades and all(grade.fault is not None for grade in grades):
        names = ", ".join(map(repr, item)) or "no columns"
        raise RecipeError(
            f"{KEY} failed on each answer to the first row, whose item has {names}: {grades[0].fault}: {grades[0].reason}. "
            "Correct it."
        )


def split_target(target: str) -> tuple[str, str]:
    """``FILE:function`` or ``module:function`` in its two parts.

    Raises:
        RecipeError: if it is neither.
    """
    _settings(target)
    place, _, function = target.rpartition(":")
    return place, function


def _settings(target: str) -> UserFunction:
    try:
        return UserFunction.model_validate({"type": "file", "file": target, "limits": {"seconds": SECONDS}})
    except ValidationError as error:
        raise RecipeError(f"{KEY} {target!r} names no function. Write graders.py:grade, or module:function.") from error


def _scores(answers: Iterable[Judged | None]) -> list[float]:
    return [one.grade.score for one in answers if one is not None and one.grade.score is not None]


def _measure(right: Sequence[float], higher: Sequence[float], grades: Sequence[Grade]) -> dict[str, Any]:
    """Binary if scores are 0 and 1 alone; else from which score on an answer is right: the least that a reference has.

    References that score no higher than a wrong answer do not say it: from their score on, that would be right too.

    Args:
        right: scores of references.
        higher: those of them that are higher than those of empty answers.
    """
    scores = [grade.score for grade in grades if grade.score is not None]
    if not scores or set(scores) == {0.0, 1.0}:
        return {"measure": "binary"} if scores else {}
    low, high = min(0.0, *scores), max(1.0, *scores)
    passes = {"passes_at": float(min(higher))} if higher and 2 * len(higher) >= len(right) else {}
    return {**({"range": [float(math.floor(low)), float(math.ceil(high))]} if (low, high) != (0.0, 1.0) else {}), **passes}
