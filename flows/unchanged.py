"""A run that would only repeat a verdict ends as ``unchanged``: no gate use, no new MLflow run, no new version."""

from typing import Any

from ratchet.components.records import Verdict
from ratchet.components.run.repeats import Settled, finished_run, settled
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Models
from ratchet.flows.recording import Recording


def already_settled(recording: Recording) -> dict[str, Any] | None:
    """The result ``unchanged`` if every stage is finished and its candidate was judged before; MLflow is not touched."""
    if recording.ledger.open_run(recording.identity) is not None:
        return None  # a killed run has something left to finish
    found = finished_run(recording.context)
    if found is None:
        return None
    known = settled(recording.ledger, recording.context.recipe, found.candidate.weights, found.start.weights)
    if known is None:
        return None
    for stage in found.stages:
        recording.add(stage)
    return unchanged_result(recording, known, found.data.version)


def repeated(recording: Recording, models: Models, data: DataStage) -> dict[str, Any] | None:
    """The result ``unchanged`` if the candidate just made was judged before, in another run."""
    known = settled(recording.ledger, recording.context.recipe, models.challenger.weights, models.start.weights)
    if known is None:
        return None
    result = unchanged_result(recording, known, data.version)
    recording.close(result)
    return result


def unchanged_result(recording: Recording, known: Settled, dataset: str) -> dict[str, Any]:
    """The result of a run that would only repeat a verdict."""
    champion = recording.ledger.champion(recording.context.recipe.name)
    recording.details["reasons"] = ["this candidate was judged before; nothing was used and nothing was registered"]
    report = recording.context.home.reports / f"{known.run_id}.html"
    return recording.result(
        "unchanged",
        verdict=known.verdict.outcome.value if known.verdict else None,
        version=champion.version if champion else None,
        previous=champion.previous if champion else None,
        dataset=dataset,
        report=str(report) if report.is_file() else None,
        run_id=known.run_id,
    )


def verdict_of_this_run(recording: Recording, models: Models) -> Verdict | None:
    """The verdict that this very run had reached when it was killed."""
    known = settled(recording.ledger, recording.context.recipe, models.challenger.weights, models.start.weights)
    if known is None:
        return None
    champion = recording.ledger.champion(recording.context.recipe.name)
    runs = {known.run_id} | ({champion.run_id} if champion else set())
    return known.verdict if recording.begun in runs else None
