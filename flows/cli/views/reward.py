"""Reward reports and advice as tables, on stderr."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from ratchet.components.text import visible
from ratchet.flows.cli.views.console import console

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


def check_table(report: Mapping[str, Any]) -> Table:
    """One row per check: figure, interval, threshold, outcome, and the remedy if it failed."""
    state = "passed" if report["passed"] else "refused"
    title = f"{'' if report['kind'] == 'gold' else 'reward '}{report['kind']}: {state}, {report['counts']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for name, justify in (("check", "left"), ("figure", "right"), ("interval", "right"), ("threshold", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("")
    table.add_column("", overflow="fold")
    for check in report["checks"]:
        note = text(check["detail"])
        if check["state"] == "failed":
            note += f"\n[bold]{text(check['advice'])}[/]"
        elif check["state"] == "waived":
            note += f"\nwaived: {text(check['waived'])}"
        interval = "" if check["low"] is None else f"{check['low']:.3f} to {check['high']:.3f}"
        figure = "" if check["value"] is None else f"{check['value']:.3g}"
        table.add_row(
            check["name"], figure, interval, f"{check['threshold']:g}", STATES.get(check["state"], check["state"]), note
        )
    return table


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
    reasons = [f"because {text(reason)}" for reason in advice["reasons"]]
    return [table, *reasons, *(f"[dim]assuming that {text(assumption)}[/]" for assumption in advice["assumptions"])]


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
