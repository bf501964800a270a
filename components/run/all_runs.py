"""The page over all runs, written beside the reports when a run ends: what the ledger knows of each."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.errors import RegistryError
from ratchet.components.gate.primary import first_measure
from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.report.champions import Entry, Reign
from ratchet.components.report.index import LISTED, Model, render
from ratchet.components.run.outcome import Status
from ratchet.components.storage.files import write_text
from ratchet.components.storage.home import Home
from ratchet.components.text import redacted

INDEX = "index.html"
WORDS = {
    Status.PROMOTED: "promoted",
    Status.REFUSED: "refused",
    Status.REWARD_REFUSED: "grader refused",
    Status.INVALID: "not judged",
    Status.STOPPED: "stopped",
    Status.ERROR: "failed",
    Status.FINISHED: "ended early on request",
}
UNENDED = {
    "running": "In progress.",
    "stopped": "Stopped; the same command resumes it.",
    "killed": "Killed; the same command resumes it.",
}
Run = Mapping[str, Any]  # a row of the ledger


def write_all_runs(home: Home, ledger: Ledger) -> Path:
    """The page's path."""
    runs = ledger.latest_runs(LISTED + 1)
    models = [model_of(home, ledger, name, [run for run in runs[:LISTED] if run["model"] == name]) for name in ledger.models()]
    text = render([model for model in models if model.entries], time_text(now()), len(runs) > LISTED)
    path = home.reports / INDEX
    write_text(path, text)
    return path


def show_all_runs(home: Home, ledger: Ledger, say: Callable[[str], None]) -> None:
    """Write the page at the end of a run, which is recorded by then: whatever fails here is said and ends nothing."""
    try:
        write_all_runs(home, ledger)
    except Exception as error:
        say(redacted(f"the page over all runs was not written: {error}; `ratchet report` writes it again"))


def model_of(home: Home, ledger: Ledger, name: str, runs: Sequence[Run]) -> Model:
    """One model's runs and champions.

    Args:
        runs: newest first.
    """
    entries = [entry_of(home, run) for run in reversed(runs)]
    try:
        history = ledger.history(name)
    except RegistryError as error:  # of this model: the page still has the others
        return Model(name, entries, [], str(error))
    return Model(name, entries, reigns_of(ledger, name, history, list(reversed(runs)), entries), champion_text(history))


def entry_of(home: Home, run: Run) -> Entry:
    """A run in words. Its report is linked if it is on this machine."""
    result, status = json.loads(run["result"]) if run["result"] else {}, str(run["status"])
    known = status in set(Status)
    return Entry(
        run_id=run["run_id"],
        when=time_text(run["started"]),
        status=WORDS.get(Status(status), status) if known else status,
        tone=Status(status).tone if known else "neutral",
        said=result.get("said") or ("" if result else UNENDED.get(status, "It did not end; the same command resumes it.")),
        version=result.get("version"),
        dev=(result.get("gold") or {}).get("dev"),
        report=None if (report := report_of(home, run["run_id"])) is None else report.name,
    )


def reigns_of(
    ledger: Ledger, name: str, history: Sequence[Promotion], runs: Sequence[Run], entries: Sequence[Entry]
) -> list[Reign]:
    """The champions of the listed runs, oldest first.

    Args:
        runs, entries: oldest first.
    """
    numbers = {entry.run_id: number for number, entry in enumerate(entries)}
    dev = {entry.version: entry.dev for entry in entries if entry.dev is not None}  # a run that ended unchanged has none
    retired, sealed = ledger.retired(name), dict[str, float | None]()
    reigns = []
    for promotion in history:
        if promotion.verdict is not None:
            sealed[promotion.version] = sealed_of(ledger, promotion.verdict, retired)
        between = sum(run["started"] <= promotion.at for run in runs) - 0.5
        since = numbers.get(promotion.run_id, between) if promotion.by == "gate" else between
        figures = dev.get(promotion.version), sealed.get(promotion.version)
        reigns.append(Reign(max(since, -0.5), promotion.version, promotion.by, *figures))
    return reigns


def sealed_of(ledger: Ledger, verdict: str, retired: Mapping[str, Any]) -> float | None:
    """What the challenger reached on the sealed fold in the first primary measure; None while the fold is in use."""
    known = ledger.verdict_by_digest(verdict)
    if known is None or known["record"].get("fold_digest") not in retired:
        return None
    record = known["record"]  # of any release
    figures: Mapping[str, float] = record.get("figures") or {}
    return figures.get(f"challenger_{first_measure(record.get('method', ''))}")


def newest_report(home: Home, ledger: Ledger) -> str | None:
    """The path of the newest run's report that is on this machine."""
    reports = (report_of(home, run["run_id"]) for run in ledger.latest_runs(LISTED))
    return next((str(path) for path in reports if path is not None), None)


def report_of(home: Home, run_id: str) -> Path | None:
    """A run's report, where the project is now; None if it is not on this machine."""
    path = home.reports / f"{run_id}.html"
    return path if path.is_file() else None


def champion_text(history: Sequence[Promotion]) -> str:
    """Who is champion, since when, by whom."""
    if not history:
        return "There is no champion yet."
    newest = history[-1]
    by = {"gate": "by the gate", "override": "by a person", "rollback": "by a rollback"}.get(newest.by, newest.by)
    return f"Version {newest.version} has been champion since {time_text(newest.at)}, promoted {by}."


def time_text(at: str) -> str:
    """``2026-11-26 02:31 UTC`` of a time in the ledger."""
    return f"{at[:10]} {at[11:16]} UTC"
