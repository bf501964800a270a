"""JSON as models write it: alone, or in one code fence. What two readers would read differently is not JSON here."""

import re
from typing import Any

from ratchet.components.storage.json_text import strict_json

DEEPEST = 100  # levels: what walks a value may recurse

_OPENED = re.compile(r"```(?:json|JSON)?[ \t]*\n")


def parse_json(text: str) -> Any:
    """The JSON value of a text that is JSON, or one code fence around JSON.

    Raises:
        ValueError: for anything else; NaN and infinity, a number beyond float64, and a repeated key too.
    """
    try:
        value = strict_json(_without_fence(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _limit_depth(value)
    return value


def _without_fence(text: str) -> str:
    """What is in the fence that a text consists of, else the text. One pattern for both ends would be quadratic in spaces."""
    fenced = text.strip()
    opened = _OPENED.match(fenced)
    if opened is None or not fenced.endswith("```", opened.end()):
        return text
    return fenced[opened.end() : -len("```")].rstrip(" \t").removesuffix("\n")


def _limit_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [member for one in level if isinstance(one, (list, dict)) for member in _members(one)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _members(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
