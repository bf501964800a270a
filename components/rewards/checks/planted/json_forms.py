"""When two JSON texts are the same answer, told without the grader: what it misses must not count as right by chance."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from ratchet.components.graders.number import parse_number
from ratchet.components.recipe import Compared
from ratchet.components.rewards.checks.planted.json_fields import Leaf, as_object, leaves
from ratchet.components.rewards.checks.planted.texts import folded


def form_of(reference: str, fields: Mapping[str, Compared], others: str = "auto") -> str:
    """The fields that count, without what their comparison ignores, in one order; of what is no JSON object its text."""
    value = as_object(reference)
    if value is None:
        return folded(reference)
    return repr(sorted((leaf.keys, repr(plain(leaf.value, leaf.way))) for leaf in leaves(value, fields, others)))


def same(reference: str, text: str, fields: Mapping[str, Compared], others: str = "auto") -> bool:
    """Whether a text is as right as a reference: the same fields, each with the same value within its tolerance."""
    values = as_object(reference), as_object(text)
    if values[0] is None or values[1] is None:
        return folded(reference) == folded(text)
    expected, found = ({leaf.keys: leaf for leaf in leaves(value, fields, others)} for value in values if value is not None)
    return expected.keys() == found.keys() and all(_equal(leaf, found[keys].value) for keys, leaf in expected.items())


def plain(value: Any, way: Compared) -> Any:
    """A value without what the way of comparing it ignores; numbers are fractions, lists without order are sorted."""
    if way.by == "exact" or value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, way)
    if isinstance(value, int | float):
        return Fraction(value) if isinstance(value, int) else Fraction(repr(value))
    inner = way.model_copy(update={"by": "auto"}) if way.by == "unordered" else way
    if isinstance(value, list):
        entries = [plain(entry, inner) for entry in value]
        return sorted(entries, key=_order) if way.by == "unordered" else entries
    return {key: plain(member, inner) for key, member in sorted(value.items()) if member is not None}


def _plain_text(text: str, way: Compared) -> Any:
    if way.by == "number" and (number := parse_number(text)) is not None:
        return number
    if way.by == "date":
        try:
            return datetime.fromisoformat(text.strip()).date()
        except ValueError:
            return text
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.casefold() if way.ignore_case else text


def _order(value: Any) -> tuple[bool, Fraction, str]:
    """Numbers by size, so that near ones are paired; the rest by their text."""
    number = isinstance(value, Fraction)
    return number, value if number else Fraction(0), repr(value)


def _equal(leaf: Leaf, found: Any) -> bool:
    if leaf.way.by == "exact":
        return type(leaf.value) is type(found) and bool(leaf.value == found)
    return _near(plain(leaf.value, leaf.way), plain(found, leaf.way), leaf.way)


def _near(expected: Any, found: Any, way: Compared) -> bool:
    """Whether two plain values are equal, each number in them within the tolerance."""
    if type(expected) is not type(found):
        return False
    if isinstance(expected, Fraction):
        allowed = max(Fraction(repr(way.abs)), Fraction(repr(way.rel)) * abs(expected))
        return bool(abs(expected - found) <= allowed)
    if isinstance(expected, list):
        return len(expected) == len(found) and all(_near(a, b, way) for a, b in zip(expected, found, strict=True))
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(_near(expected[key], found[key], way) for key in expected)
    return bool(expected == found)
