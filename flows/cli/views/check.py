"""How ``ratchet check`` looks to a person, on stderr."""

from rich.markup import escape

from ratchet.components.inspection.check import Checked, Part, State
from ratchet.components.text import visible
from ratchet.flows.cli.views.console import console
from ratchet.flows.cli.views.reward import text
from ratchet.flows.cli.views.terminal import Rows

MARKS = {State.OK: "[green]✓[/]", State.WARNING: "[yellow]![/]", State.FAILURE: "[red]✗[/]"}
LINES = 8  # of one finding
WIDTH = 600  # characters of one line of a finding
PROMPT = 400  # characters of a prompt


def show_checked(found: Checked) -> None:
    """One line per finding, the prompts below theirs, and what to do next."""
    rows: list[tuple[str, str, str]] = []
    for line, before in zip(found.lines, [None, *found.lines], strict=False):
        part = "" if before is not None and before.part is line.part else line.part
        rows.append((MARKS[line.state], part, shortened(line.text)))
        if line.part is Part.PROMPTS and line.state is State.OK:
            for prompt in found.prompts:
                rows.append(("", f"[dim]{text(prompt.row[:6])}[/]", f"[dim]{cut(prompt.text, PROMPT)}[/]"))
    console.print(Rows(rows))
    console.print(conclusion(found))


def conclusion(found: Checked) -> str:
    """The last line: how many findings there are, or the next command."""
    failures, warnings = (sum(line.state is state for line in found.lines) for state in (State.FAILURE, State.WARNING))
    counts = {"failure": failures, "warning": warnings}
    said = ", ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items() if count)
    if failures:
        return f"[bold red]{said}[/]"
    return f"{said or 'all fine'}; next: ratchet try -n 8, then ratchet run"


def shortened(finding: str) -> str:
    """A finding in a few lines, its last one included, which has the remedy; safe on a terminal."""
    lines = finding.split("\n")
    if len(lines) > LINES:
        lines = [*lines[: LINES - 2], f"  ... ({len(lines) - LINES + 1} lines more with --json)", lines[-1]]
    return escape("\n".join(_cut(line, WIDTH) for line in lines))  # as a whole: a tag may reach over the end of a line


def cut(value: str, most: int) -> str:
    """A text of at most ``most`` characters, and how many it has; safe on a terminal."""
    return escape(_cut(value, most))


def _cut(value: str, most: int) -> str:
    return visible(value) if len(value) <= most else f"{visible(value[:most])} ... (cut: {len(value):,} characters)"
