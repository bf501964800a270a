"""The table of ``ratchet compare A B``."""

from rich.markup import escape
from rich.table import Table

from ratchet.components.compare.compare import Comparison
from ratchet.components.compare.said import apart, counted, shown, verdict
from ratchet.components.text import visible
from ratchet.flows.cli.views.terminal import make_console


def print_comparison(found: Comparison, report: str) -> None:
    """The verdict, a row per figure, and what to know of them."""
    console = make_console()
    console.print(f"[bold]{escape(visible(verdict(found)))}[/]\n")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for heading in (found.first.name, found.second.name, f"{found.second.name} against {found.first.name}"):
        table.add_column(escape(visible(heading)), justify="right", overflow="fold")
    for row in found.figures:
        table.add_row(row.measure.title, shown(row.first), shown(row.second), apart(row))
    console.print(table)
    console.print()
    for arm in (found.first, found.second):
        console.print(escape(visible(f"{arm.name}: {arm.described}")))
    trained = f"budget {found.task['budget']} each, {counted(found.seeds)}, " if "budget" in found.task else ""
    console.print(f"{trained}{found.task['dev_items']} items of dev; in brackets 95% intervals")
    for note in found.notes:
        console.print(escape(visible(f"- {note}")))
    console.print(f"report {escape(visible(report))}")
