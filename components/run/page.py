"""What the report of a run shows: the values of its template. Sealed figures only once their fold is retired."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import yaml

from ratchet.components.graders.build import grader_digests
from ratchet.components.ledger.database import now
from ratchet.components.records import Arm, ItemResult
from ratchet.components.report.checks import shown_checks
from ratchet.components.report.effect import picture
from ratchet.components.report.model_card import STILL_SEALED
from ratchet.components.report.reward import reward_plots
from ratchet.components.report.run import confusion_tables, dev_rows, place_rows
from ratchet.components.report.samples import Group, grouped, paired
from ratchet.components.report.sealed import sealed_values
from ratchet.components.rewards.checks.planted.kinds import kind_of
from ratchet.components.run.all_runs import INDEX, time_text
from ratchet.components.run.changes import champion_before, changes_of, code_text, environment_of
from ratchet.components.run.checkpoints import described, offers_any, start_gold, unregistered
from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Run
from ratchet.components.run.told import START, effect_of, told_of
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, ValidationReport, WarmupStage
from ratchet.components.stages.stage import Stage
from ratchet.components.stages.train import TrainStage

STAGES: dict[str, str] = {
    Stage.DATA: "prepare the data",
    Stage.GOLD: "test the gold",
    Stage.WARMUP: "make the model that training starts from",
    Stage.CHAMPION: "fetch the champion",
    Stage.REWARD: "test the reward",
    Stage.TRAIN: "train",
    Stage.EVALUATE: "compare on the development split",
}
TABLES = {
    "train": "to train on",
    "dev": "development split, to look at while training",
    "guard": "guard set, to see that nothing else gets worse",
    "pairs_train": "pairs of a better and a worse answer, to train on",
    "pairs_heldout": "pairs of a better and a worse answer, to test the reward",
}

Points = Sequence[tuple[int, Mapping[str, float]]]


def report_values(run: Run, data: DataStage, validation: ValidationReport, retired: bool) -> dict[str, Any]:
    """The values of the report's template.

    Args:
        retired: whether the verdict's fold is retired, so that its figures may be shown.
    """
    recipe, candidate, dev = run.recipe, run.made.candidate, run.made.dev
    assert run.ending is not None
    status, verdict, remark = run.ending.status, run.ending.verdict, run.ending.remark
    said = verdict.reasons if verdict is not None and status is not Status.FINISHED else []
    if retired:
        said = [STILL_SEALED.sub("; the fold is retired now, so its figures are shown", reason) for reason in said]
    effect, before = effect_of(run), champion_before(run)
    return {
        "told": told_of(run, run.result()),
        "effect": effect,
        "picture": None if effect is None else picture(effect),
        "name": recipe.name,
        "run_id": run.run_id,
        "when": time_text(now()),
        "links": links_of(run),
        "tone": status.tone,
        "dataset": data.version,
        "stop": stop_text(candidate),
        "reasons": [*said, *([remark] if remark else [])],
        "tested": verdict.outcome if verdict is not None and verdict.tested else None,
        "rival": f"version {before}" if before else START,
        "changes": changes_of(run, data),
        "dev": dev_rows(dev.summary) if dev else [],
        "confusion": confusion_tables(dev.confusion) if dev else [],
        "places": place_rows(dev.details) if dev else [],
        "sealed": sealed_values(verdict) if verdict is not None and retired else None,
        "reward": {**asdict(validation), "chosen_k": candidate.facts.k if candidate is not None else None},
        "checks": shown_checks(validation.checks),
        "plots": reward_plots(validation.curves),
        "chosen_step": candidate.facts.best_step if candidate is not None else None,
        "tables": [(table_text(name), f"{rows:,}") for name, rows in data.summary["rows"].items()],
        "groups": groups_of(run, data, dev) if dev else [],
        "stages": [{**stage, "title": STAGES.get(stage["name"], stage["name"])} for stage in run.stages_as_json()],
        "spent": [*spent(candidate.points), *launch_text(candidate)] if candidate is not None else [],
        "kept": [{"policy": kept.policy, "what": described(kept, start_gold(run.made))} for kept in unregistered(run.made)],
        "offered": offers_any(run.made),
        "facts": facts_of(run),
        "recipe": yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    }


def base_of(run: Run) -> str:
    """The recipe's base model in words, and whether it was fine-tuned; or that training started from the champion."""
    model = run.recipe.policy.model or "tiny Llama-type policy, warmed up on the demonstrations"
    if run.recipe.policy.start == "champion" and any(stage.name is Stage.CHAMPION for stage in run.made.stages):
        return f"the champion, which began as {model}"
    said = [stage.tuned or stage.learnt for stage in run.made.stages if isinstance(stage, WarmupStage)]
    return ", ".join([model, *(facts.text() for facts in said if facts is not None)])


def table_text(name: str) -> str:
    """A table of the dataset by its purpose."""
    if name.startswith("sealed_"):
        return f"sealed fold {name.removeprefix('sealed_')}, for the gate alone"
    return TABLES.get(name, name)


def stop_text(candidate: TrainStage | None) -> str | None:
    """Why the sentinel ended training, if it did."""
    return candidate.stop.text() if candidate is not None and candidate.stop is not None else None


def links_of(run: Run) -> list[tuple[str, str]]:
    """Words and address: of all runs, and of MLflow where it is a server."""
    found = [("All runs", INDEX)]
    if (address := mlflow_address(run.project.home.tracking_uri)) is not None:
        found.append(("This run in MLflow", f"{address}/#/runs/{run.run_id}"))
        if (version := run.made.version) is not None:
            found.append((f"Version {version} in MLflow", f"{address}/#/models/{run.recipe.name}/versions/{version}"))
    return found


def mlflow_address(tracking_uri: str) -> str | None:
    """MLflow's server, without the login of the address; None if MLflow is not a server."""
    address = urlsplit(tracking_uri)
    if address.scheme not in ("http", "https"):
        return None
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}".rstrip("/")


def groups_of(run: Run, data: DataStage, dev: EvaluateStage) -> list[Group]:
    """Both arms' answers to the items of dev, with the references as the gold reads them."""
    kind = kind_of(run.recipe.gold_settings)
    cases = {row["id"]: kind.case(row) for row in data.table("dev")}
    references = {name: case.reference for name, case in cases.items() if case is not None}
    before, after = ([ItemResult.from_json(row) for row in dev.rows(arm)] for arm in (Arm.INCUMBENT, Arm.CHALLENGER))
    return grouped(paired(before, after, references))


def launch_text(candidate: TrainStage) -> list[tuple[str, str]]:
    """The ranks that trained, if it was not the run's own process."""
    launch = candidate.facts.launch
    if launch is None:
        return []
    weights = ", each with a part of the weights" if launch["sharded"] else ""
    return [("Ranks that trained", f"{launch['ranks']}, by {launch['kind']}{weights}")]


def spent(points: Points) -> list[tuple[str, str]]:
    """What training took, of the steps whose figures are known."""
    tokens, answers, seconds = (
        sum(values.get(name, 0.0) for _, values in points) for name in ("num_tokens", "num_samples", "step_time")
    )
    if not tokens:
        return []
    found = [("Answers sampled in training", f"{answers:,.0f}"), ("Tokens sampled in training", f"{tokens:,.0f}")]
    if seconds:
        found += [("Seconds of its steps", f"{seconds:,.1f}"), ("Tokens per second", f"{tokens / seconds:,.0f}")]
    peak = max((values.get("memory/peak_gib", 0.0) for _, values in points), default=0.0)
    return [*found, ("Most memory", f"{peak:,.2f} GiB")] if peak else found


def facts_of(run: Run) -> list[tuple[str, str]]:
    """By what everything that went into the run is known."""
    recipe, made = run.recipe, run.made
    assert made.data is not None
    code = environment_of(run).code
    found = [
        ("Recipe", f"{recipe.name}, digest {recipe.digest}"),
        ("Algorithm and seed", f"{recipe.train.algorithm}, seed {recipe.run_seed}"),
        ("Dataset version", made.data.version),
        ("Base model", base_of(run)),
        ("Gold grader", grader_digests(recipe)["gold"]),
        ("Code of the project", code_text(code)),
        ("Ratchet's own code", code.sources_sha256),
    ]
    if made.version is not None:
        verbs = f"`ratchet lineage {made.version}` shows its record, `ratchet verify {made.version}` checks it"
        found.append(("Version", f"{made.version}; {verbs}"))
    if made.candidate is not None:
        found += [("Trained weights", made.candidate.weights), ("Trained policy", made.candidate.policy_digest)]
    return found
