"""Reward reports, advice and scores, on stderr."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from ratchet.components.text import visible
from ratchet.flows.cli.views.console import console
from ratchet.flows.cli.views.terminal import Rows, prose

if TYPE_CHECKING:
    from ratchet.components.graders.protocol import Grade

SHOWN = 40  # rows of a score table


def show(*parts: RenderableType) -> None:
    """Print tables and lines."""
    for part in parts:
        console.print(part, highlight=False)


def text(value: str) -> str:
    """Text of a recipe or a row, safe on a terminal."""
    return escape(visible(value))


STATES = {"passed": "[green]passed[/]", "failed": "[red]FAILED[/]", "waived": "[yellow]waived[/]"}


def check_rows(report: Mapping[str, Any]) -> list[RenderableType]:
    """A line per check: figure, interval, threshold, outcome; below it what was found, and the remedy if it failed."""
    state = "passed" if report["passed"] else "refused"
    title = f"{'' if report['kind'] == 'gold' else 'reward '}{report['kind']}: {state}, {report['counts']}"
    width = max((len(check["name"]) for check in report["checks"]), default=0)
    heading = f"{'check':<{width}} {'figure':>8} {'interval':>16} {'threshold':>10}"
    lines = [line for check in report["checks"] for line in _check_lines(check, width)]
    return [f"[italic]{text(title)}[/]", f"[bold]{heading}[/]", *lines]


def _check_lines(check: Mapping[str, Any], width: int) -> list[RenderableType]:
    interval = "" if check["low"] is None else f"{check['low']:.3f} to {check['high']:.3f}"
    figure = "" if check["value"] is None else f"{check['value']:.3g}"
    state = STATES.get(check["state"], check["state"])
    advice = {"failed": f"[bold]{text(check['advice'])}[/]", "waived": f"waived: {text(check['waived'] or '')}"}
    notes = [text(check["detail"])] if check["detail"] else []
    notes += [advice[check["state"]]] if check["state"] in advice else []
    return [
        f"{check['name']:<{width}} {figure:>8} {interval:>16} {check['threshold']:>10g}  {state}",
        *([Rows([("  ", note) for note in notes])] if notes else []),
    ]


def advice_table(advice: Mapping[str, Any]) -> list[RenderableType]:
    """What to expect of each group size, the advice, its reasons and its assumptions."""
    table = Table(title=f"train.k = {advice['k']}, {advice['algorithm']}", title_justify="left", box=None, padding=(0, 1))
    for name in (
        "k",
        "zero-variance groups",
        "R² of an advantage",
        "signal-to-noise ratio per prompt",
        "error of the group's standard deviation",
    ):
        table.add_column(name, justify="right")
    for size in advice["sizes"]:
        chosen = "bold" if size["k"] == advice["k"] else ""
        table.add_row(
            str(size["k"]),
            f"{size['silent_share']:.2f}",
            f"{size['advantage_fidelity']:.2f}",
            f"{size['signal']:.1f}",
            f"{size['spread_error']:.0%}",
            style=chosen,
        )
    reasons = [prose(f"because {text(reason)}") for reason in advice["reasons"]]
    return [table, *reasons, *(prose(f"[dim]assuming that {text(assumption)}[/]") for assumption in advice["assumptions"])]


def score_table(rows: Sequence[Mapping[str, Any]], scores: "Sequence[Grade]") -> Table:
    """The first rows with their totals and parts."""
    table = Table(title=f"{len(rows)} completions", title_justify="left", box=None, padding=(0, 1))
    for name in ("total", "parts", "completion"):
        table.add_column(name, overflow="fold")
    for row, grade in list(zip(rows, scores, strict=True))[:SHOWN]:
        parts = ", ".join(f"{name} {value:.3g}" for name, value in grade.parts.items())
        missing = "none" if grade.fault is None else f"none ({grade.fault})"
        score = missing if grade.score is None else f"{grade.score:.3g}"
        table.add_row(score, text(grade.reason if grade.fault else parts), text(row["completion"][-80:]))
    return table
