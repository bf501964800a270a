"""Planted wrong answers to an extraction: the reference with one field changed, dropped or added.

Each row has one wrong answer per kind of its fields (a number, a text, a date, a flag, a list), so that a grader that does not
look at one of them is seen. What the recipe does not compare is left alone, and a change is beyond its tolerances.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from ratchet.components.graders.json_text import parse_json
from ratchet.components.graders.number import format_number, parse_number
from ratchet.components.recipe import Compared
from ratchet.components.rewards.checks.planted.texts import Plant, one_off

LARGE = 1e6  # from here on a number changes its sign: one more might not be another float
ADDED = "planted"
KINDS = ("number", "text", "date", "flag", "list", "object")


class Leaf(NamedTuple):
    """A field that counts: its keys from the root, its value, and how it is compared."""

    keys: tuple[str, ...]
    value: Any
    way: Compared


Change = Callable[[dict[str, Any], list[Leaf], int], dict[str, Any] | None]  # of an object, its fields and its row's number


def plants(fields: Mapping[str, Compared], others: str = "auto") -> dict[str, Plant]:
    """Wrong answers by name.

    Args:
        fields: of the grader, by path; see ``json_match``.
        others: ``ignore`` if fields that are not named do not count.
    """
    changes: dict[str, Change] = {
        **{f"a {kind} of the JSON changed": _changer(kind) for kind in KINDS},
        "a list of the JSON turned round": _turned,
        "a field of the JSON dropped": _dropped,
    }
    if others == "auto":
        changes["a field added to the JSON"] = _added
    return {name: _plant(change, fields, others) for name, change in changes.items()}


def _plant(change: Change, fields: Mapping[str, Compared], others: str) -> Plant:
    def wrong(reference: str, place: int) -> str | None:
        value = as_object(reference)
        made = None if value is None else change(value, leaves(value, fields, others), place)
        return None if made is None else json.dumps(made, ensure_ascii=False)

    return lambda cases: [wrong(case.reference, place) for place, case in enumerate(cases)]


def as_object(reference: str) -> dict[str, Any] | None:
    """The JSON object of a reference, if it is one."""
    try:
        value = parse_json(reference)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def leaves(value: Mapping[str, Any], fields: Mapping[str, Compared], others: str, before: tuple[str, ...] = ()) -> list[Leaf]:
    """The fields that count and are not null: an object is walked into unless the grader names it; a list is one field."""
    found: list[Leaf] = []
    for key, member in value.items():
        keys = (*before, key)
        path = ".".join(one.replace(".", "\\.") for one in keys)
        if isinstance(member, dict) and path not in fields:
            found += leaves(member, fields, others, keys)
        elif member is not None and (path in fields or others == "auto"):
            found.append(Leaf(keys, member, fields.get(path, Compared())))
    return [leaf for leaf in found if leaf.way.by != "ignore"]


def kind_of(value: Any) -> str:
    """The kind of a value, of KINDS."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text" if _day(value) is None else "date"
    return "list" if isinstance(value, list) else "object"


def other_value(value: Any, way: Compared) -> Any:
    """A value that is not equal to this one in the way that the field is compared."""
    if way.by == "number" and isinstance(value, str) and (number := parse_number(value)) is not None:
        return format_number(number + _step(number, way))
    match kind_of(value):
        case "flag":
            return not value
        case "number":
            return value + _step(value, way) if abs(value) < LARGE else _other_sign(int(value), way)
        case "date":
            return _other_day(value)
        case "text":
            return one_off(value)
        case "list":
            return value[:-1] if value else [ADDED]
    return {**value, ADDED: 1}


def _step(value: float | Fraction, way: Compared) -> int:
    """More than the tolerance, exactly: an integer may be beyond every float."""
    return math.ceil(1 + max(Fraction(way.abs), Fraction(way.rel) * abs(Fraction(value))))


def _other_sign(value: int, way: Compared) -> int:
    """A number of the other sign, which is further away than the tolerance and not longer."""
    return -_step(value, way) if value > 0 else _step(value, way)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError:
        return None


def _other_day(text: str) -> str:
    text = text.strip()
    day = date.fromisoformat(text[:10])
    return (day + timedelta(days=1 if day < date.max else -1)).isoformat() + text[10:]


def _changer(kind: str) -> Change:
    def change(value: dict[str, Any], found: list[Leaf], place: int) -> dict[str, Any] | None:
        leaf = _chosen([leaf for leaf in found if kind_of(leaf.value) == kind], place)
        return None if leaf is None else _with(value, leaf.keys, other_value(leaf.value, leaf.way))

    return change


def _turned(value: dict[str, Any], found: list[Leaf], place: int) -> dict[str, Any] | None:
    """A list whose order counts, in reverse."""
    ordered = [leaf for leaf in found if isinstance(leaf.value, list) and leaf.way.by != "unordered"]
    leaf = _chosen([leaf for leaf in ordered if leaf.value != leaf.value[::-1]], place)
    return None if leaf is None else _with(value, leaf.keys, leaf.value[::-1])


def _dropped(value: dict[str, Any], found: list[Leaf], place: int) -> dict[str, Any] | None:
    leaf = _chosen(found, place)
    return None if leaf is None else _with(value, leaf.keys, None)


def _added(value: dict[str, Any], found: list[Leaf], place: int) -> dict[str, Any]:
    return {**value, next(name for name in (ADDED, f"{ADDED}_") if name not in value): 1}


def _chosen(found: Sequence[Leaf], place: int) -> Leaf | None:
    """Another field from row to row, so that each has its turn."""
    return found[place % len(found)] if found else None


def _with(value: Mapping[str, Any], keys: Sequence[str], new: Any) -> dict[str, Any]:
    """The object with another value at the end of the keys; None takes the field away."""
    first, *rest = keys
    member = _with(value[first], rest, new) if rest else new
    return {key: old for key, old in value.items() if key != first or member is not None} | (
        {} if member is None else {first: member}
    )
