"""What a run publishes: the registered version, its card and the report. Sealed figures only once their fold is retired."""

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from ratchet.components.code.checkout import code_state
from ratchet.components.gate.unsealing import is_retired, metric_name, publish_retired, publish_verdict
from ratchet.components.ledger.promotion import CHALLENGER
from ratchet.components.provenance.lineage import FILE, TAG, code_tags
from ratchet.components.provenance.record import lineage_of, trained_in, write_lineage
from ratchet.components.recipe import headline
from ratchet.components.records import Arm, ItemResult, Verdict
from ratchet.components.report import model_card
from ratchet.components.report.run import render, training_plot
from ratchet.components.report.sealed import with_test
from ratchet.components.run.checkpoints import record_checkpoints
from ratchet.components.run.columns import before_and_after, curves
from ratchet.components.run.outcome import Status
from ratchet.components.run.page import base_of, report_values, stop_text
from ratchet.components.run.record import Run
from ratchet.components.run.serving import served_turns
from ratchet.components.run.told import told_of
from ratchet.components.stages.data import REPORT
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.gold import gold_report
from ratchet.components.stages.results import DataStage, ValidationReport
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_text
from ratchet.components.text import visible

NOTE = "mlflow.note.content"  # what MLflow shows as a run's description

Points = list[tuple[int, dict[str, float]]]


def publish_candidate(run: Run, data: DataStage, candidate: TrainStage) -> str:
    """Register the candidate once, with its lineage, and point the alias ``challenger`` at it; returns its version."""
    recipe, tracker, run_id = run.recipe, run.tracker, run.open()
    tags = {
        "weights_sha256": candidate.weights,
        "policy_sha256": candidate.policy_digest,
        "dataset_md5": data.version,
        "recipe_digest": recipe.digest,
        "algorithm": recipe.train.algorithm,
        "verdict": "pending",
        "exact": str(candidate.facts.exact).lower(),
        "training_status": candidate.status,
        **code_tags(trained_in(candidate, run.project.home.project).code),
    }
    with run.project.home.workspace("publish") as folder:
        if (
            tracker.version_of(recipe.name, candidate.policy_digest) is None
        ):  # else keep the record of the run that registered it
            tags |= _log_lineage(run, run_id, folder)
        model = folder / "model"
        shutil.copytree(candidate.model, model)
        settings = {
            "max_new_tokens": recipe.policy.max_new_tokens,
            "turns": served_turns(recipe.data.task, lambda name: run.context.seen.digest(Path(name))),
        }
        version = tracker.register(recipe.name, run_id, model, settings, tags)
    if (candidate.path / "adapter").is_dir():
        tracker.artifact(run_id, candidate.path / "adapter", "adapter")
    if tracker.alias(recipe.name, CHALLENGER) != version:
        tracker.set_alias(recipe.name, CHALLENGER, version)
    return version


def _log_lineage(run: Run, run_id: str, folder: Path) -> dict[str, str]:
    """Log ``lineage.json`` with the run; returns tags: its sha256, ``exact``, and the version that training started from."""
    lineage = lineage_of(run.context, run.made.stages, lambda policy: run.tracker.version_of(run.recipe.name, policy))
    for path in write_lineage(lineage, code_state(run.project.home.project).difference, folder):
        run.tracker.artifact(run_id, path)
    parent = {} if lineage.policy.version is None else {"parent_version": lineage.policy.version}
    return {TAG: file_digest(folder / FILE), "exact": str(lineage.exact).lower(), **parent}


def publish_outcome(run: Run) -> str | None:
    """Write and log the report of a run that has an ending, and its parts; returns the report's path.

    A run that ended before its gold was validated has no report: its data and its remark are logged, and None is returned.
    """
    assert run.ending is not None and run.made.data is not None
    run_id, verdict = run.open(), run.ending.verdict
    validation = validation_of(run)
    if validation is None:
        _log_data(run, run_id, run.made.data)
        run.tracker.tags(run_id, {"reason": visible(run.ending.remark or "")})
        return None
    retired = verdict is not None and is_retired(run.ledger, run.recipe.name, verdict)
    points = run.made.candidate.points if run.made.candidate else []
    path = run.project.home.reports / f"{run_id}.html"
    run.tracker.tags(run_id, {NOTE: visible(told_of(run, run.result()).text)})
    run.tracker.metrics(run_id, compared_figures(run, points))
    write_text(path, render(report_values(run, run.made.data, validation, retired), points))
    run.tracker.artifact(run_id, path, "report")
    _log_recipe(run, run_id)
    _log_data(run, run_id, run.made.data)
    _log_validation(run, run_id, validation)
    _log_training(run, run_id, points)
    if run.made.candidate is not None:
        record_checkpoints(run, run_id)
    if run.made.dev is not None:
        run.tracker.table(run_id, _samples(run, run.made.dev), "samples.json")
        run.tracker.metrics(run_id, [(0, dev_metrics(run.made.dev))])
        if run.made.dev.confusion:
            run.tracker.artifact(run_id, run.made.dev.path / "confusion.json", "evaluation")
    if verdict is not None:
        publish_verdict(run.context, run.tracker, run_id, verdict, retired)
        _describe(run, run_id, verdict)
        publish_retired(run.context, run.tracker, run.ledger)  # after the page that it completes
        complete_reports(run)
    return str(path)


def complete_reports(run: Run) -> None:
    """Write the figures of retired folds into this machine's reports that hide them, and log these again; idempotent."""
    home, retired = run.project.home, run.ledger.retired(run.recipe.name)
    for known in run.ledger.verdicts(run.recipe.name):
        path = home.reports / f"{known['run_id']}.html"
        if known["record"].get("fold_digest") not in retired or not path.is_file():
            continue
        try:
            before = path.read_text(encoding="utf-8")
        except (OSError, ValueError):  # of this old report alone, and what was just judged is to be published
            logging.getLogger(__name__).warning("%s cannot be read, so the figures of its test are not added", path)
            continue
        after = with_test(before, Verdict.from_json(known["record"]))
        if after != before:
            with home.workspace("publish") as folder:  # logged first: what a crash leaves is completed by the next run
                write_text(folder / path.name, after)
                if run.tracker.has_run(known["run_id"]):
                    run.tracker.artifact(known["run_id"], folder / path.name, "report")
            write_text(path, after)


def compared_figures(run: Run, points: Points) -> Points:
    """Figures by which runs are compared, first on the run's page: before and after on dev, and training by step."""
    dev = run.made.dev
    return [*([] if dev is None else [(0, before_and_after(dev.summary))]), *curves(points)]


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


def _log_data(run: Run, run_id: str, data: DataStage) -> None:
    run.tracker.dataset(run_id, run.recipe.name, data.version, "data.dvc", data.summary["rows"])
    run.tracker.artifact(run_id, data.path / "data.dvc", "data")
    if (data.path / REPORT).is_file():  # a dataset that `reproduce` restored by hash has none
        run.tracker.artifact(run_id, data.path / REPORT, "data")


def _log_recipe(run: Run, run_id: str) -> None:
    """The recipe with every default, as a file that `ratchet run --recipe` takes."""
    with run.project.home.workspace("publish") as folder:
        path = folder / "recipe.yaml"
        write_text(path, yaml.safe_dump(run.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
        run.tracker.artifact(run_id, path)


def validation_of(run: Run) -> ValidationReport | None:
    """What was found of the reward and its gold; of the gold alone if the run has come no further; None before that."""
    if run.made.reward is not None:
        return run.made.reward.report
    return None if run.made.gold is None else gold_report(run.made.gold, run.recipe)


def _log_validation(run: Run, run_id: str, validation: ValidationReport) -> None:
    if run.made.gold is not None:
        for name in ("report.json", "broken.jsonl", "missed.jsonl"):
            run.tracker.artifact(run_id, run.made.gold.path / name, "gold")
    if run.made.reward is not None:
        run.tracker.artifact(run_id, run.made.reward.path / "report.json", "reward")
    if waived := validation.waived:
        run.tracker.tags(run_id, {f"reward.waived.{name}": visible(reason) for name, reason in waived.items()})


def _log_training(run: Run, run_id: str, points: Points) -> None:
    if run.made.candidate is not None:
        run.tracker.tags(run_id, {"training_status": run.made.candidate.status})
    plot = training_plot(points)
    if plot is None:
        return
    with run.project.home.workspace("publish") as folder:
        path = folder / "training.svg"
        path.write_bytes(plot)
        run.tracker.artifact(run_id, path, "plots")


def _samples(run: Run, dev: EvaluateStage) -> list[dict[str, Any]]:
    rows = dev.rows(Arm.CHALLENGER)[: run.recipe.evaluation.sample_rows]
    keys = ("prompt", "completion", "passed", "score", "length", "kl")
    results = [asdict(ItemResult.from_json(row)) for row in rows]
    return [{key: visible(row[key]) if isinstance(row[key], str) else row[key] for key in keys} for row in results]


def _said(run: Run) -> str:
    """What the run found of its candidate; nothing that a later run makes untrue, such as who is champion."""
    assert run.ending is not None
    told = told_of(run, run.result())
    return f"{told.sentence} {told.effect}".strip() if run.ending.status in (Status.PROMOTED, Status.REFUSED) else ""


def _describe(run: Run, run_id: str, verdict: Verdict) -> None:
    """Fill the version's description from the model card's template."""
    made, recipe = run.made, run.recipe
    assert made.version is not None and made.dev is not None and made.data is not None and made.reward is not None
    assert made.candidate is not None
    tags = code_tags(trained_in(made.candidate, run.project.home.project).code)
    figures = made.dev.summary
    values = {
        "name": recipe.name,
        "version": made.version,
        "said": _said(run),
        "verdict": verdict.outcome.value,
        "reasons": verdict.reasons,
        "commit": tags["commit"],
        "dirty": tags["dirty"] != "false",
        "dataset_md5": made.data.version,
        "recipe_digest": recipe.digest,
        "weights_sha256": made.candidate.weights,
        "policy_sha256": verdict.challenger,
        "gold": verdict.gold,
        "algorithm": recipe.train.algorithm,
        "engine": made.candidate.facts.engine,
        "seed": recipe.seed,
        "dev": {
            f"{decoding}_{when}": figures[f"{arm}_{decoding}"][headline(figures[f"{arm}_{decoding}"])]
            for decoding in ("sampled", "greedy")
            for when, arm in (("before", "incumbent"), ("after", "challenger"))
        },
        "reward": asdict(made.reward.report),
        "run_id": run_id,
        "stop": stop_text(made.candidate),
        "base_model": base_of(run),
    }
    card = model_card.render(values, run.project.home.project)
    described = {"verdict": verdict.outcome.value, "verdict_sha256": verdict.public_digest}
    run.tracker.describe(recipe.name, made.version, card, described)
