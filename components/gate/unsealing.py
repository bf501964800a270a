"""When a fold is retired, every verdict on it is published: in the run that reached it, and on the version's page."""

import re
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ratchet.components.gate.folds import retire_published
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.records import Verdict
from ratchet.components.report.model_card import Judged, with_sealed
from ratchet.components.stages.stage import Context
from ratchet.components.storage.files import scratch_directory
from ratchet.components.storage.json_text import json_text

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


def is_retired(ledger: Ledger, model: str, verdict: Verdict) -> bool:
    """Whether a verdict's sealed figures may be shown."""
    return verdict.fold_digest is not None and verdict.fold_digest in ledger.retired(model)


def publish_retired(context: Context, tracker: "Tracker", ledger: Ledger) -> int:
    """Publish the unpublished verdicts of retired folds; returns their number. Idempotent, so safe after a kill."""
    model = context.recipe.name
    retire_published(ledger, model)
    hidden = ledger.unpublished(model)
    for known in hidden:
        if tracker.has_run(known["run_id"]):
            publish_verdict(context, tracker, known["run_id"], Verdict.from_json(known["record"]), retired=True)
        ledger.note_published(known["digest"], known["run_id"])
    publish_on_pages(context, tracker, ledger)
    return len(hidden)


def publish_on_pages(context: Context, tracker: "Tracker", ledger: Ledger) -> None:
    """Show the verdicts on retired folds on the page of each version that was judged there.

    Every page is compared with what it should show, so that the next run completes what a crash left.
    """
    model, judged = context.recipe.name, dict[str, list[Judged]]()
    retired = ledger.retired(model)
    for known in ledger.verdicts(model):
        if known["record"].get("fold_digest") in retired:
            judged.setdefault(known["record"]["challenger"], []).append(_judged(known))
    for version in tracker.versions(model) if judged else ():
        digests = (version.tags.get(tag, "") for tag in ("weights_sha256", "policy_sha256"))  # verdicts of older releases first
        verdicts = [found for digest in digests for found in judged.get(digest, ())]
        if verdicts and version.description:
            page = with_sealed(version.description, verdicts, context.home.project)
            if page != version.description:
                tracker.describe(model, version.number, page, {})


def _judged(known: Mapping[str, Any]) -> Judged:
    record = known["record"]
    return Judged(record["outcome"], record["fold"], known["run_id"], list(Verdict.from_json(record).figures.items()))


def publish_verdict(context: Context, tracker: "Tracker", run_id: str, verdict: Verdict, retired: bool) -> None:
    """Log ``verdict.json``: the whole record of a retired fold, with its figures as metrics, else only what may be shown."""
    record = verdict.as_json() if retired else verdict.public()
    _log_record(context, tracker, run_id, {**record, "digest": verdict.digest if retired else verdict.public_digest})
    if retired:
        tracker.metrics(run_id, [(0, {metric_name(f"sealed/{k}"): v for k, v in verdict.figures.items()})])


def metric_name(name: str) -> str:
    """A name that MLflow accepts: ``pass@4`` becomes ``pass_4``."""
    return re.sub(r"[^\w./ :-]", "_", name)


def _log_record(context: Context, tracker: "Tracker", run_id: str, record: Mapping[str, Any]) -> None:
    folder = scratch_directory(context.home.workspaces, "verdict")
    try:
        path = folder / "verdict.json"
        path.write_text(json_text(record, indent=2, sort_keys=True), encoding="utf-8")
        tracker.artifact(run_id, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
