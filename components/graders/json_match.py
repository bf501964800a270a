"""Extraction: the completion is a JSON object, alone or in a code fence, whose fields equal the reference's.

Objects are compared by the paths of their leaves (``vendor.name``); a list is one field. Numbers are compared as the decimals
that were written, so that 0.30 and 0.29 differ by exactly 0.01. Null is the same as absent.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

import numpy as np

from ratchet.components.graders.json_text import parse_json
from ratchet.components.graders.number import parse_number
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.spaces import reference_of

LONGEST = 1_000  # entries of a list: matching is cubic in them


@dataclass(frozen=True)
class Comparison:
    """How two values of one field are compared; ``docs/graders.md`` has each way."""

    by: str = "auto"
    abs: float = 0.0
    rel: float = 0.0
    ignore_case: bool = True

    def same(self, expected: Any, found: Any) -> bool:
        """Whether ``found`` equals the reference's value."""
        if expected is None or found is None:
            return expected is None and found is None
        match self.by:
            case "number":
                return self._numbers(_number(expected), _number(found))
            case "date":
                return _date(expected) is not None and _date(expected) == _date(found)
            case "text":
                return bool(self._text(expected) == self._text(found))
            case "exact":
                return type(expected) is type(found) and bool(expected == found)
            case "unordered":
                return self._unordered(expected, found)
        return self._auto(expected, found)

    def _auto(self, expected: Any, found: Any) -> bool:
        """By the type of the reference: numbers, texts, lists in order, objects key by key."""
        if _is_number(expected) and _is_number(found):
            return self._numbers(_fraction(expected), _fraction(found))
        if type(expected) is not type(found):
            return False
        if isinstance(expected, str):
            return bool(self._text(expected) == self._text(found))
        if isinstance(expected, list):
            return len(expected) == len(found) and all(map(self._auto, expected, found))
        if isinstance(expected, dict):
            keys = {key for side in (expected, found) for key, value in side.items() if value is not None}
            return all(self._auto(expected.get(key), found.get(key)) for key in keys)
        return bool(expected == found)

    def _numbers(self, expected: Fraction | None, found: Fraction | None) -> bool:
        if expected is None or found is None:
            return False
        allowed = max(_fraction(self.abs), _fraction(self.rel) * abs(expected))
        return abs(expected - found) <= allowed

    def _text(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = " ".join(unicodedata.normalize("NFC", value).split())
        return text.casefold() if self.ignore_case else text

    def _unordered(self, expected: Any, found: Any) -> bool:
        """Whether the entries can be paired off: each equals one of its own."""
        if not (isinstance(expected, list) and isinstance(found, list)) or len(expected) != len(found):
            return False
        if len(expected) > LONGEST:
            return False
        from scipy.optimize import linear_sum_assignment

        equal = np.array([[self._auto(a, b) for b in found] for a in expected], dtype=float).reshape(len(expected), len(found))
        return bool(equal[linear_sum_assignment(equal, maximize=True)].sum() == len(expected))


def rule(
    reference: str, fields: Mapping[str, Comparison], others: str = "auto", score: str = "f1"
) -> Callable[[str, Mapping[str, Any]], Grade]:
    """Passed if every field is right. The score is F1 over fields, or with ``score`` = all the same as passed.

    A reference that is not a JSON object judges nothing: score None, with the reason.

    Args:
        fields: comparison by path; those of the reference that are not named are compared by their type.
        others: ``ignore`` leaves fields that are not named out, on both sides.
    """
    expected_of = reference_of(reference)

    def judge(completion: str, row: Mapping[str, Any]) -> Grade:
        try:
            expected = _object(expected_of(row))
        except ValueError as error:
            return Grade(None, reason=f"the reference is not a JSON object: {error}")
        try:
            found = _object(completion)
        except ValueError as error:
            return Grade(0.0, {"parsed": 0.0}, passed=False, reason=f"not a JSON object: {error}")
        return _grade(_kept(expected, fields, others), _kept(found, fields, others), fields, score)

    return judge


def _grade(expected: dict[str, Any], found: dict[str, Any], fields: Mapping[str, Comparison], score: str) -> Grade:
    """F1 over fields: 2 right / (fields of the reference + fields of the completion)."""
    right = {path for path in expected.keys() & found.keys() if _way(path, fields).same(expected[path], found[path])}
    wrong = sorted((expected.keys() | found.keys()) - right)
    f1 = 2 * len(right) / (len(expected) + len(found)) if expected or found else 1.0
    reason = f"wrong, missing or extra: {', '.join(wrong)}"[:300] if wrong else ""
    return Grade(f1 if score == "f1" else float(not wrong), {"parsed": 1.0, "f1": f1}, passed=not wrong, reason=reason)


def _way(path: str, fields: Mapping[str, Comparison]) -> Comparison:
    return fields.get(path, Comparison())


def _kept(value: dict[str, Any], fields: Mapping[str, Comparison], others: str) -> dict[str, Any]:
    """The leaves that count, by path."""
    leaves = dict(_leaves(value, "", fields))
    return {
        path: leaf
        for path, leaf in leaves.items()
        if leaf is not None and (path in fields or others == "auto") and _way(path, fields).by != "ignore"
    }


def _leaves(value: dict[str, Any], before: str, fields: Mapping[str, Comparison]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, member in value.items():
        path = before + key.replace(".", "\\.")  # {"a.b": 1} is not {"a": {"b": 1}}
        nested = isinstance(member, dict) and path not in fields
        found += _leaves(member, f"{path}.", fields) if nested else [(path, member)]
    return found


def _object(value: Any) -> dict[str, Any]:
    parsed = parse_json(value) if isinstance(value, str) else value
    if not isinstance(parsed, dict):
        raise ValueError(f"it is {'missing' if parsed is None else 'a ' + type(parsed).__name__}")
    return parsed


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fraction(value: float) -> Fraction:
    return Fraction(value) if isinstance(value, int) else Fraction(repr(value))


def _number(value: Any) -> Fraction | None:
    """Of a JSON number, or of a text that is one number (``$1,200.00``)."""
    if isinstance(value, str):
        return parse_number(value)
    return _fraction(value) if _is_number(value) else None


def _date(value: Any) -> date | None:
    """Of an ISO date or date and time."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.strip()).date()
    except ValueError:
        return None
