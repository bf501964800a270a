"""What was deleted, or would be."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ratchet.flows.cli.views.terminal import make_console

if TYPE_CHECKING:
    from ratchet.components.project.retention import Item


def print_items(items: "list[Item]") -> None:
    """One line per item, with its size and the day of its last use."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("kind", "name", "last used"):
        table.add_column(column, overflow="fold")
    table.add_column("MB", justify="right")
    for item in items:
        day = datetime.fromtimestamp(item.used, UTC).date().isoformat()
        table.add_row(item.kind, escape(item.name), day, f"{item.size / 1e6:.1f}")
    if items:
        make_console().print(table)
