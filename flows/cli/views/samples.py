"""How ``ratchet try`` looks to a person, on stderr: a table that fits 80 columns, and is no wider in a pipe."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ratchet.components.graders.protocol import Grade, is_right
from ratchet.components.run.samples import Sample, Tried
from ratchet.flows.cli.views.check import cut
from ratchet.flows.cli.views.console import console
from ratchet.flows.cli.views.reward import text
from ratchet.flows.cli.views.terminal import prose

PROMPT, COMPLETION, REFERENCE, REASON = 160, 400, 120, 160  # characters
PARTS = 6
WIDEST = 160  # columns of the table, which are texts to read beside one another


def show_samples(tried: Tried) -> None:
    """Which policy, one row per sample, the notes, and how often the gold said right."""
    console.print(prose(f"{len(tried.samples)} samples of {text(tried.policy)}, {tried.decoding}"))
    for line in common(tried.samples):
        console.print(prose(line))
    console.print(sample_table(tried.samples), width=min(console.width, WIDEST))
    for note in tried.notes:
        console.print(prose(f"[yellow]![/] {cut(note, COMPLETION)}"))
    if counted := tally([one.grades["gold"] for one in tried.samples if "gold" in one.grades]):
        console.print(prose(counted))


def is_one_prompt(samples: Sequence[Sample]) -> bool:
    """Whether all samples answer the same prompt, which is then said once, above them."""
    return len({one.prompt for one in samples}) == 1


def common(samples: Sequence[Sample]) -> list[str]:
    """The prompt of all samples and its reference, if they answer one."""
    if not is_one_prompt(samples):
        return []
    reference = samples[0].reference
    told = [] if reference is None else [f"[bold]reference[/] {cut(reference, REFERENCE)}"]
    return [f"[bold]prompt[/] {shortened(samples[0].prompt, PROMPT)}", *told]


def sample_table(samples: Sequence[Sample]) -> Table:
    """Of each sample what is not common to all: prompt, completion, reference, and a line per grade."""
    several, graded = not is_one_prompt(samples), any(one.grades for one in samples)
    columns: list[tuple[str, int, bool, Callable[[Sample], str]]] = [
        ("prompt", 3, several, lambda one: shortened(one.prompt, PROMPT)),
        ("completion", 3, True, completion),
        ("reference", 3, several, lambda one: "[dim]none[/]" if one.reference is None else cut(one.reference, REFERENCE)),
        ("grades", 4, graded, lambda one: "\n".join(written(name, grade) for name, grade in one.grades.items())),
    ]
    shown = [(name, ratio, cell) for name, ratio, is_shown, cell in columns if is_shown]
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, expand=True)
    for name, ratio, _ in shown:
        table.add_column(name, ratio=ratio, overflow="fold")
    for one in samples:
        table.add_row(*(cell(one) for _, _, cell in shown), end_section=True)
    return table


def completion(one: Sample) -> str:
    """What was drawn, and whether it was cut."""
    drawn = shortened(one.completion, COMPLETION) if one.completion.strip() else "[dim](empty)[/]"
    return drawn if one.finished else f"{drawn} [yellow](not ended)[/]"


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
