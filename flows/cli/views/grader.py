"""A grader's facts as a table, on stderr."""

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ratchet.flows.cli.views.reward import show, text

__all__ = ["card", "show"]


def card(facts: Mapping[str, Any]) -> Table:
    """One row per fact; arguments one by one, as the function gets them."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if name == "arguments":
            for number, one in enumerate(value["positional"], 1):
                table.add_row(f"argument {number}", text(_written(one)))
            for key, one in value["named"].items():
                table.add_row(f"argument {text(key)}", text(_written(one)))
        else:
            table.add_row(name, text(_written(value)))
    return table


def _written(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
