"""The table of ``ratchet compare``."""

from collections.abc import Sequence

from rich.table import Table

from ratchet.components.training.estimate import Place
from ratchet.components.training.memory import GIB
from ratchet.components.training.price import Price
from ratchet.flows.cli.views.terminal import make_console

COLUMNS = ("GiB", "times", "TFLOP to learn", "times", "whole step, times")


def print_prices(found: Sequence[Sequence[Price]], place: Place) -> None:
    """For each size a row per algorithm: figures, and how many times the first algorithm's they are."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("step of", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for sizes in found:
        table.add_row(f"{sizes[0].size} ({sizes[0].parameters / 1e6:,.1f} M)")
        for price in sizes:
            table.add_row(f"  {price.algorithm}", *_figures(price, sizes[0]))
    console = make_console()
    console.print(table)
    kind = "CPU" if place.kind == "cpu" else "GPU"
    console.print(f"* more than the {place.budget / GIB:.1f} GiB that may be used of a {kind} with {place.memory / GIB:.1f}")
    console.print(
        f"Estimates; times those of {found[0][0].algorithm}. A whole step includes drawing, the same for all, which takes "
        "longer than its arithmetic: in seconds expect less than the last column."
    )


def _figures(price: Price, base: Price) -> list[str]:
    told = price.beside(base)
    return [
        f"{told['memory_gib']:,.2f}{' ' if price.plan.fits else '*'}",
        f"{told['memory_ratio']:.2f}",
        _short(told["learning_tflop"]),
        f"{told['learning_ratio']:.2f}",
        f"{told['step_ratio']:.2f}",
    ]


def _short(number: float) -> str:
    return f"{number:,.2f}" if number < 100 else f"{number:,.0f}"
