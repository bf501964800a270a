"""What leaves a run: the registered version, its card, and the report. Sealed figures leave only with a retired fold."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.digests import file_digest
from ratchet.components.files import scratch_directory, write_text
from ratchet.components.gate.unsealing import is_retired, metric_name, publish_retired, publish_verdict
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import CHALLENGER
from ratchet.components.provenance.checkout import code_state
from ratchet.components.provenance.lineage import FILE, TAG, commit_tags
from ratchet.components.provenance.record import lineage_of, write_lineage
from ratchet.components.records import Arm, Verdict
from ratchet.components.report import model_card
from ratchet.components.report.reward import reward_plot
from ratchet.components.report.run import dev_rows, place_rows, render, training_plot
from ratchet.components.run.outcome import Status
from ratchet.components.stages.data import REPORT
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, RewardStage
from ratchet.components.stages.stage import Context, StageResult
from ratchet.components.stages.train import TrainStage
from ratchet.components.text import visible

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


def publish_candidate(
    context: Context,
    tracker: "Tracker",
    run_id: str,
    data: DataStage,
    candidate: TrainStage,
    stages: Sequence[StageResult],
) -> str:
    """Register the candidate once, with its lineage, and point the alias ``challenger`` at it; returns its version.

    Args:
        stages: all stages of the run.
    """
    recipe, weights = context.recipe, candidate.weights
    tags = {
        "weights_sha256": weights,
        "dataset_md5": data.version,
        "recipe_digest": recipe.digest,
        "algorithm": recipe.train.algorithm,
        "verdict": "pending",
        "exact": str(candidate.facts.exact).lower(),  # false: training was resumed in another environment
        "training_status": candidate.status,
        **commit_tags(context.home.project),
    }
    with scratch(context) as folder:
        if tracker.version_of(recipe.name, weights) is None:  # else the record of the run that registered it stays
            tags |= _log_lineage(context, tracker, run_id, stages, folder)
        model = folder / "model"
        shutil.copytree(candidate.model, model)
        settings = {"max_new_tokens": recipe.policy.max_new_tokens}
        version = tracker.register(recipe.name, run_id, model, settings, tags)
    if (candidate.path / "adapter").is_dir():
        tracker.artifact(run_id, candidate.path / "adapter", "adapter")
    if tracker.alias(recipe.name, CHALLENGER) != version:
        tracker.set_alias(recipe.name, CHALLENGER, version)
    return version


def _log_lineage(
    context: Context, tracker: "Tracker", run_id: str, stages: Sequence[StageResult], folder: Path
) -> dict[str, str]:
    """Log ``lineage.json`` with the run; returns its sha256, and the version that training started from, as tags."""
    name = context.recipe.name
    lineage = lineage_of(context, stages, lambda weights: tracker.version_of(name, weights))
    for path in write_lineage(lineage, code_state(context.home.project).difference, folder):
        tracker.artifact(run_id, path)
    parent = {} if lineage.policy.version is None else {"parent_version": lineage.policy.version}
    return {TAG: file_digest(folder / FILE), **parent}


@contextmanager
def scratch(context: Context) -> Iterator[Path]:
    """A directory for the length of a block."""
    folder = scratch_directory(context.home.workspaces, "publish")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_outcome(
    context: Context,
    tracker: "Tracker",
    ledger: Ledger,
    run_id: str,
    stages: Sequence[StageResult],
    *,
    status: str,
    data: DataStage,
    reward: RewardStage,
    candidate: TrainStage | None = None,
    dev: EvaluateStage | None = None,
    verdict: Verdict | None = None,
    version: str | None = None,
    remark: str | None = None,
) -> str:
    """Write and log the report and its parts; returns the report's path.

    Args:
        remark: what a reader must know beside the verdict's reasons.
    """
    tracker.dataset(run_id, context.recipe.name, data.version, "data.dvc", data.summary["rows"])
    points = candidate.points if candidate is not None else []
    retired = verdict is not None and is_retired(ledger, context.recipe.name, verdict)
    values = _report_values(context, stages, status, data, reward, candidate, dev, verdict, retired)
    values["reasons"] += [remark] if remark else []
    if candidate is not None:
        values["stop"] = candidate.stop and candidate.stop.text()
        tracker.tags(run_id, {"training_status": candidate.status})
    path = context.home.reports / f"{run_id}.html"
    write_text(path, render(values, points))
    tracker.artifact(run_id, path, "report")
    tracker.artifact(run_id, data.path / "data.dvc", "data")
    if (data.path / REPORT).is_file():  # a dataset that `reproduce` restored by its hash comes without
        tracker.artifact(run_id, data.path / REPORT, "data")
    tracker.artifact(run_id, reward.path / "report.json", "reward")
    if waived := reward.report.waived:
        tracker.tags(run_id, {f"reward.waived.{name}": visible(reason) for name, reason in waived.items()})
    _log_plot(context, tracker, run_id, points)
    if dev is not None:
        tracker.table(run_id, _samples(context, dev), "samples.json")
        tracker.metrics(run_id, [(0, dev_metrics(dev))])
    if verdict is not None:
        publish_verdict(context, tracker, run_id, verdict, retired)
        publish_retired(context, tracker, ledger)
        if version is not None and dev is not None:
            _describe(context, tracker, run_id, data, reward, dev, verdict, version, values["stop"])
    return str(path)


def dev_metrics(dev: EvaluateStage) -> dict[str, float]:
    """Figures on dev, slices and benchmarks as metrics: ``dev/challenger_sampled/accuracy``, ``benchmark NAME/...``."""
    places = {"dev": dev.summary, **dev.details}
    return {
        metric_name(f"{place}/{arm}/{name}"): figure["value"]
        for place, arms in places.items()
        for arm, figures in arms.items()
        for name, figure in figures.items()
        if figure["value"] is not None
    }


def _log_plot(context: Context, tracker: "Tracker", run_id: str, points: Any) -> None:
    plot = training_plot(points)
    if plot is None:
        return
    with scratch(context) as folder:
        path = folder / "training.svg"
        path.write_bytes(plot)
        tracker.artifact(run_id, path, "plots")


def _samples(context: Context, dev: EvaluateStage) -> list[dict[str, Any]]:
    rows = dev.rows(Arm.CHALLENGER)[: context.recipe.evaluation.sample_rows]
    keys = ("prompt", "completion", "correct", "length", "kl")
    return [{key: visible(row[key]) if isinstance(row[key], str) else row[key] for key in keys} for row in rows]


def _report_values(
    context: Context,
    stages: Sequence[StageResult],
    status: str,
    data: DataStage,
    reward: RewardStage,
    candidate: TrainStage | None,
    dev: EvaluateStage | None,
    verdict: Verdict | None,
    retired: bool,
) -> dict[str, Any]:
    recipe, report = context.recipe, reward.report
    return {
        "name": recipe.name,
        "algorithm": recipe.train.algorithm,
        "seed": recipe.seed,
        "dataset": data.version,
        "status": status,
        "stop": None,
        "tone": Status(status).tone,
        "headline": Status(status).headline,
        "reasons": [*verdict.reasons] if verdict and status != "finished" else [],
        "dev": dev_rows(dev.summary) if dev else [],
        "places": place_rows(dev.details) if dev else [],
        "sealed": {
            "fold": verdict.fold,
            "figures": [(k, f"{v:.4g}") for k, v in verdict.figures.items()],
            "reasons": verdict.sealed_reasons,
        }
        if verdict is not None and retired
        else None,
        "reward": {
            **asdict(report),
            "checks": [_shown_check(check) for check in report.checks],
            "chosen_k": candidate.facts.k if candidate is not None else None,
        },
        "reward_plot": reward_plot(report.curves),
        "tables": list(data.summary["rows"].items()),
        "samples": _samples(context, dev) if dev else [],
        "stages": [stage.as_json() for stage in stages],
    }


def _shown_check(check: Mapping[str, Any]) -> dict[str, Any]:
    value = "none" if check["value"] is None else f"{check['value']:.3f}"
    if check["low"] is not None:
        value += f" ({check['low']:.3f} to {check['high']:.3f})"
    return {**check, "value": value, "threshold": f"{check['threshold']:g}"}


def _describe(
    context: Context,
    tracker: "Tracker",
    run_id: str,
    data: DataStage,
    reward: RewardStage,
    dev: EvaluateStage,
    verdict: Verdict,
    version: str,
    stop: str | None,
) -> None:
    """Fill the version's description from the model card's template."""
    recipe, tags = context.recipe, commit_tags(context.home.project)
    figures = dev.summary
    values = {
        "name": recipe.name,
        "version": version,
        "verdict": verdict.outcome.value,
        "reasons": verdict.reasons,
        "commit": tags["commit"],
        "dirty": tags["dirty"] != "false",
        "dataset_md5": data.version,
        "recipe_digest": recipe.digest,
        "weights_sha256": verdict.challenger,
        "algorithm": recipe.train.algorithm,
        "seed": recipe.seed,
        "dev": {
            f"{decoding}_{when}": figures[f"{arm}_{decoding}"]["accuracy"]
            for decoding in ("sampled", "greedy")
            for when, arm in (("before", "incumbent"), ("after", "challenger"))
        },
        "reward": asdict(reward.report),
        "run_id": run_id,
        "stop": stop,
        "base_model": recipe.policy.model or "tiny Llama-type policy, warmed up on the demonstrations",
    }
    card = model_card.render(values, context.home.project)
    tracker.describe(recipe.name, version, card, {"verdict": verdict.outcome.value, "verdict_sha256": verdict.public_digest})
