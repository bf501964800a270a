"""The display of a run: one live line per stage, on stderr."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ratchet.components.ledger.claims import uptime
from ratchet.components.report.run import dev_rows
from ratchet.components.run.all_runs import INDEX
from ratchet.components.run.checkpoints import described, unregistered
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.page import base_of
from ratchet.components.run.publish import validation_of
from ratchet.components.run.record import Run
from ratchet.components.run.told import told_of
from ratchet.components.stages.results import ValidationReport
from ratchet.components.stages.stage import Silent, Stage
from ratchet.components.text import redacted, visible

TITLES: dict[str, str] = {
    Stage.DATA: "dataset",
    Stage.GOLD: "gold, validated",
    Stage.WARMUP: "starting policy",
    Stage.REWARD: "reward, validated",
    Stage.TRAIN: "RL training",
    Stage.EVALUATE: "evaluation",
    Stage.GATE: "gate",
}
COLOURS = {"good": "green", "neutral": "cyan", "bad": "yellow"}
console = Console(stderr=True, emoji=False)  # texts of users have colons


def title_of(stage: str) -> str:
    """A stage in words."""
    return TITLES.get(stage, stage)


def say(text: str) -> None:
    """A redacted line on the display, not interpreted as markup."""
    console.print(redacted(text), highlight=False, markup=False)


class Display(Silent):
    """Progress bars by stage; lines are printed as stages finish, so that a log file is readable too."""

    def __init__(self) -> None:
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.shares: dict[str, int] = {}

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw within the block."""
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as self.bars:
            yield
        self.bars = None

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""
        if self.bars is None:
            return
        if not console.is_terminal:
            self._print_tenths(stage, done, total, note)
            return
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(title_of(stage), total=total, note="")
        self.bars.update(self.tasks[stage], completed=done, total=total, note=escape(note))

    def _print_tenths(self, stage: str, done: int, total: int, note: str) -> None:
        share = 10 * done // max(1, total)
        if share != self.shares.get(stage):
            self.shares[stage] = share
            console.print(f"{title_of(stage):<18} {done}/{total}  {escape(note)}", highlight=False, soft_wrap=True)

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        """Print how a stage ended."""
        if stage in self.tasks and self.bars is not None:
            self.bars.remove_task(self.tasks.pop(stage))
        how = "already finished" if cached else f"{seconds:.1f} s"
        console.print(f"[green]✓[/] {title_of(stage):<18} {how}", highlight=False)


def print_result(result: RunResult, run: Run) -> None:
    """The summary at the end of a run: what happened in sentences, and then its figures."""
    made, validation, told = run.made, validation_of(run), told_of(run, result)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("dataset", str(result.dataset or "not made"))
    table.add_row("base model", escape(visible(base_of(run))))
    if validation is not None:
        add_reward(table, validation)
    for row in dev_rows(made.dev.summary)[:2] if made.dev is not None else []:
        table.add_row(f"dev, {row['label']}", f"{row['before']} -> {row['after']}")
    if validation is not None and validation.mutation_score is not None:
        table.add_row("mutation score", f"{validation.mutation_score:.3f} of planted wrong answers were caught by the gold")
    if result.status is not Status.PROMOTED:  # of which the sentences say everything
        for number, reason in enumerate(result.reasons):
            table.add_row("" if number else "why", escape(visible(reason)))
    kept = unregistered(made) if result.status is not Status.PROMOTED else []
    for one in kept:
        table.add_row("kept", f"{one.policy[:12]} ({described(one)})")
    if kept:
        table.add_row("", "ratchet promote --checkpoint DIGEST --override --reason TEXT   (without the gate)")
    if result.version:
        table.add_row("model version", f"{result.version} (champion before: {result.previous or 'none'})")
    table.add_row("time", duration(uptime() - run.started))
    if result.report:
        table.add_row("report", escape(visible(result.report)))
        table.add_row("all runs", escape(visible(str(run.project.home.reports / INDEX))))
        table.add_row("", "ratchet ui   (MLflow and Prefect in the browser)")
    if told.next:
        table.add_row("next", escape(visible(told.next)))
    console.print()
    console.print(f"[bold {COLOURS[result.status.tone]}]{escape(visible(told.sentence))}[/]", highlight=False)
    for said in filter(None, (told.effect, told.verdict)):
        console.print(escape(visible(said)), highlight=False)
    console.print()
    console.print(table)


def duration(seconds: float) -> str:
    """``52 s``, ``4 min 31 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def add_reward(table: Table, report: ValidationReport) -> None:
    """How many checks passed and how many were not measured, and what the failed ones found."""
    table.add_row(*said_of(report))
    nothing = Counter(check["waived"] for check in report.checks if check["waived"] is not None and check["value"] is None)
    for reason, checks in nothing.items():
        table.add_row("", escape(visible(f"{checks} had nothing to measure, which the recipe waives: {reason}")))
    for check in report.checks:
        if check["passed"] is False and not (check["waived"] is not None and check["value"] is None):
            found = f"{check['name']} {_number(check['value'])} against {check['threshold']:g}"
            seen, waived = f" ({check['detail']})" if check["detail"] else "", check["waived"]
            note = f"FAILED{seen}. {check['advice']}" if waived is None else f"failed, waived: {waived}"
            table.add_row("", escape(visible(f"{found} {note}")))


def said_of(report: ValidationReport) -> tuple[str, str]:
    """What was validated, and how it ended: of the reward, or of the gold alone."""
    state = "passed" if report.passed else "refused"
    if report.kind == "gold":
        return "gold", f"{state}: {report.counts}"
    return "reward", f"{report.kind} {state}: {report.counts}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
