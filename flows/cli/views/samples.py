"""How ``ratchet try`` looks to a person, on stderr: a table that fits 80 columns."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ratchet.components.graders.protocol import Grade, is_right
from ratchet.components.run.samples import Sample, Tried
from ratchet.flows.cli.views.check import cut
from ratchet.flows.cli.views.console import console
from ratchet.flows.cli.views.reward import text

PROMPT, COMPLETION, REFERENCE, REASON = 160, 400, 120, 160  # characters
PARTS = 6


def show_samples(tried: Tried) -> None:
    """Which policy, one row per sample, the notes, and how often the gold said right."""
    console.print(f"{len(tried.samples)} samples of {text(tried.policy)}, {tried.decoding}", highlight=False)
    console.print(sample_table(tried.samples), highlight=False)
    for note in tried.notes:
        console.print(f"[yellow]![/] {cut(note, COMPLETION)}", highlight=False)
    if counted := tally([one.grades["gold"] for one in tried.samples if "gold" in one.grades]):
        console.print(counted, highlight=False)


def sample_table(samples: Iterable[Sample]) -> Table:
    """Prompt, completion with its reference, and a line per grade."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, expand=True)
    for name, ratio in (("prompt", 3), ("completion", 3), ("reference", 3), ("grades", 4)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for one in samples:
        completion = shortened(one.completion, COMPLETION) if one.completion.strip() else "[dim](empty)[/]"
        if not one.finished:
            completion += " [yellow](not ended)[/]"
        reference = "[dim]none[/]" if one.reference is None else cut(one.reference, REFERENCE)
        grades = "\n".join(written(name, grade) for name, grade in one.grades.items())
        table.add_row(shortened(one.prompt, PROMPT), completion, reference, grades or "[dim]none[/]", end_section=True)
    return table


def written(name: str, grade: Grade) -> str:
    """One grade: right or wrong, score, parts, reason or fault."""
    if grade.fault is not None:
        return f"{text(name)} [red]fault: {text(grade.fault)}[/]{reason(grade)}"
    if grade.score is None:
        return f"{text(name)} [yellow]not judged[/]{reason(grade)}"
    said = "" if grade.passed is None else " [green]right[/]" if is_right(grade) else " [red]wrong[/]"
    parts = "".join(f"\n  {text(part)} {value:.3g}" for part, value in list(grade.parts.items())[:PARTS])
    return f"{text(name)}{said} {grade.score:.3g}{parts}{reason(grade)}"


def reason(grade: Grade) -> str:
    """Why, below the grade."""
    return f"\n  [dim]{cut(grade.reason, REASON)}[/]" if grade.reason else ""


def shortened(value: str, most: int) -> str:
    """The beginning and the end of a text: many prompts begin alike, and an answer stands at the end; safe on a terminal."""
    if len(value) <= most:
        return text(value)
    head = most // 3
    return f"{text(value[:head])} [dim]... ({len(value):,} characters) ...[/] {text(value[head - most :])}"


def tally(grades: list[Grade]) -> str:
    """What the gold said, counted."""
    if not grades:
        return ""
    judged = [grade for grade in grades if grade.score is not None]
    right, faults = sum(map(is_right, judged)), sum(grade.fault is not None for grade in grades)
    unjudged = len(grades) - len(judged) - faults
    more = "".join(f", {what} {count}" for what, count in (("not judged", unjudged), ("faults", faults)) if count)
    return f"gold: right {right}, wrong {len(judged) - right}{more}"
