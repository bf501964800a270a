"""A grader's facts as a table, on stderr."""

import json
from collections.abc import Mapping
from typing import Any

from ratchet.flows.cli.views.reward import show, text
from ratchet.flows.cli.views.terminal import Rows

__all__ = ["card", "show"]


def card(facts: Mapping[str, Any]) -> Rows:
    """One row per fact; arguments one by one, as the function gets them."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if name == "arguments":
            for number, one in enumerate(value["positional"], 1):
                rows.append((f"argument {number}", text(_written(one))))
            for key, one in value["named"].items():
                rows.append((f"argument {text(key)}", text(_written(one))))
        else:
            rows.append((name, text(_written(value))))
    return Rows(rows)


def _written(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
