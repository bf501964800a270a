"""What a run says on stderr: lines as it goes, and the summary at its end."""

import os
from collections import Counter

from rich.markup import escape

from ratchet.components.ledger.clock import uptime
from ratchet.components.provenance.virtualenv import REBUILDING
from ratchet.components.report.run import dev_rows
from ratchet.components.run.all_runs import INDEX
from ratchet.components.run.checkpoints import described, offers_any, start_gold, unregistered
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.page import base_of
from ratchet.components.run.publish import validation_of
from ratchet.components.run.record import Run
from ratchet.components.run.told import told_of
from ratchet.components.stages.results import ValidationReport
from ratchet.components.text import redacted, visible
from ratchet.flows.cli.views import progress
from ratchet.flows.cli.views.terminal import Rows, make_console, prose
from ratchet.flows.cli.views.words import duration

COLOURS = {"good": "green", "neutral": "cyan", "bad": "yellow"}
console = make_console(stderr=True)


def say(text: str) -> None:
    """A redacted line on the display, not interpreted as markup."""
    console.print(prose(escape(redacted(text))))


class Display(progress.Display):
    """A run's progress on stderr."""

    def __init__(self) -> None:
        super().__init__(console)


def print_result(result: RunResult, run: Run) -> None:
    """The summary at the end of a run: what happened in sentences, and then its figures. Of a rebuild `reproduce` says it."""
    if REBUILDING in os.environ:
        return
    made, validation, told = run.made, validation_of(run), told_of(run, result)
    rows = [("dataset", str(result.dataset or "not made")), ("base model", escape(visible(base_of(run))))]
    if validation is not None:
        rows += reward_rows(validation)
    for row in dev_rows(made.dev.summary)[:2] if made.dev is not None else []:
        rows.append((f"dev, {row['label']}", f"{row['before']} -> {row['after']}"))
    if validation is not None and validation.mutation_score is not None:
        rows.append(("mutation score", f"{validation.mutation_score:.3f} of planted wrong answers were caught by the gold"))
    if result.status is not Status.PROMOTED:  # of which the sentences say everything
        for number, reason in enumerate(result.reasons):
            rows.append(("" if number else "why", escape(visible(reason))))
    kept = unregistered(made) if result.status is not Status.PROMOTED else []
    for one in kept:
        rows.append(("kept", f"{one.policy[:12]} ({described(one, start_gold(made))})"))
    if kept and offers_any(made):
        rows.append(("", "ratchet promote --checkpoint DIGEST --override --reason TEXT   (without the gate)"))
    if result.version:
        rows.append(("model version", f"{result.version} (champion before: {result.previous or 'none'})"))
    rows.append(("time", duration(uptime() - run.started)))
    if result.report:
        rows.append(("report", escape(visible(result.report))))
        rows.append(("all runs", escape(visible(str(run.project.home.reports / INDEX)))))
        rows.append(("", "ratchet ui   (MLflow and Prefect in the browser)"))
    if told.next:
        rows.append(("next", escape(visible(told.next))))
    console.print()
    console.print(prose(f"[bold {COLOURS[result.status.tone]}]{escape(visible(told.sentence))}[/]"))
    for said in filter(None, (told.effect, told.verdict)):
        console.print(prose(escape(visible(said))))
    console.print()
    console.print(Rows(rows))


def reward_rows(report: ValidationReport) -> list[tuple[str, str]]:
    """How many checks passed and how many were not measured, and what the failed ones found."""
    rows = [said_of(report)]
    nothing = Counter(check["waived"] for check in report.checks if check["waived"] is not None and check["value"] is None)
    for reason, checks in nothing.items():
        rows.append(("", escape(visible(f"{checks} had nothing to measure, which the recipe waives: {reason}"))))
    for check in report.checks:
        if check["passed"] is False and not (check["waived"] is not None and check["value"] is None):
            found = f"{check['name']} {_number(check['value'])} against {check['threshold']:g}"
            seen, waived = f" ({check['detail']})" if check["detail"] else "", check["waived"]
            note = f"FAILED{seen}. {check['advice']}" if waived is None else f"failed, waived: {waived}"
            rows.append(("", escape(visible(f"{found} {note}"))))
    return rows


def said_of(report: ValidationReport) -> tuple[str, str]:
    """What was validated, and how it ended: of the reward, or of the gold alone."""
    state = "passed" if report.passed else "refused"
    if report.kind == "gold":
        return "gold", f"{state}: {report.counts}"
    return "reward", f"{report.kind} {state}: {report.counts}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
