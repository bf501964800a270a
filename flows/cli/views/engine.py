"""The ten checks of an engine, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ratchet.flows.cli.views.reward import show, text

if TYPE_CHECKING:
    from ratchet.components.policy.engines.vllm.contract import Check


def show_checks(checks: "Sequence[Check]") -> None:
    """One row per check: ok, or what is wrong and the remedy."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    for options in ({"justify": "right"}, {}, {}, {"overflow": "fold"}):
        table.add_column(**options)  # type: ignore[arg-type]
    for check in checks:
        state = "[green]ok[/]" if check.ok else "[bold red]failed[/]"
        table.add_row(str(check.number), state, check.name, text(check.figure))
    show(table)
