"""The story: prepare data, warm up, validate the reward, train, evaluate, gate, promote."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from components.errors import RecipeError
from components.evaluation.gate import Outcome, Verdict
from components.home import Home
from components.pipeline.context import Context, StageResult
from components.pipeline.data import dataset_version
from components.pipeline.evaluate import Models, evaluation_summary
from components.pipeline.policy import policy_weights
from components.pipeline.reward import reward_report
from components.pipeline.settle import Settled, finished_run, settled, start_weights
from components.pipeline.train import training_facts
from components.recipe import Recipe, load_recipe
from components.registry.ledger import Ledger
from components.registry.promotion import reconcile
from components.store import check_writable
from flows import stages
from flows.console import Display, print_result
from flows.recording import Recording
from flows.settings import apply

STAGES = ("data", "reward", "train", "evaluate", "gate")
STATUS = {
    Outcome.PROMOTE: "promoted",
    Outcome.REJECT: "refused",
    Outcome.UNDERPOWERED: "refused",
    Outcome.INVALID: "invalid",
    Outcome.ERROR: "error",
}


@flow(name="finetune", flow_run_name="{recipe}", persist_result=False)
def finetune(
    recipe: str = "recipes/quickstart.yaml",
    overrides: list[str] | None = None,
    until: str | None = None,
    slot: str | None = None,
) -> dict[str, Any]:
    """One fine-tuning run.

    Args:
        recipe: path of a recipe file.
        overrides: ``key.path=value`` overrides of it.
        until: stop after this stage: data, reward, train, evaluate or gate.
        slot: logical date, for recipes with ``seed: slot``; by default when the run was scheduled.

    Returns:
        The shape of ``run --json``.
    """
    if until is not None and until not in STAGES:
        raise RecipeError(f"there is no stage {until!r}. Use one of {', '.join(STAGES)}.")
    home = Home.here()
    apply(home)
    resolved = load_recipe(Path(recipe), overrides or []).with_slot(slot or scheduled_slot())
    with recording_of(resolved, home) as recording:
        result = tell(recording, until)
        print_result(result, recording.details)
        return result


def tell(recording: Recording, until: str | None) -> dict[str, Any]:
    """The story itself; ends early where a stage refuses."""
    unchanged = already_settled(recording) if until is None else None
    if unchanged is not None:
        return unchanged

    data = stages.prepare_data(recording)
    if until == "data":
        return recording.result("finished", dataset=dataset_version(data))
    champion = reconcile(recording.ledger, recording.tracker, recording.context.recipe.name)
    base = stages.warm_up(recording, data)
    incumbent = base if champion is None else stages.fetch_champion(recording, champion.version, champion.weights)
    start = incumbent if recording.context.recipe.policy.start == "champion" else base

    reward = stages.validate_reward(recording, data, start)
    recording.details["reward"] = reward_report(reward)
    if not recording.details["reward"]["passed"]:
        return conclude(recording, "reward_refused", data=data, reward=reward)
    if until == "reward":
        return conclude(recording, "finished", data=data, reward=reward)

    candidate = stages.train(recording, data, start, reward)
    if training_facts(candidate)["stopped"]:
        return conclude(recording, "stopped", data=data, reward=reward, candidate=candidate)
    if until == "train":
        return conclude(recording, "finished", data=data, reward=reward, candidate=candidate)

    models = models_of(candidate, incumbent, start)
    verdict = verdict_of_this_run(recording, models)
    if verdict is None and until is None and (unchanged := repeated(recording, models, data)):
        return unchanged
    dev = stages.evaluate(recording, data, models)
    recording.details["evaluation"] = evaluation_summary(dev)
    if until == "evaluate":
        return conclude(recording, "finished", data=data, reward=reward, candidate=candidate, dev=dev)

    version = stages.register(recording, data, dev, candidate)
    if verdict is None:
        verdict = stages.gate(recording, data, dev, models, champion is None)
    previous = champion.version if champion else None
    if verdict.outcome is Outcome.PROMOTE and until is None:
        previous = stages.move_champion(recording, version, verdict, champion.sequence if champion else 0)
    recording.details["reasons"] = verdict.reasons
    return conclude(
        recording, STATUS[verdict.outcome], previous, data=data, reward=reward, candidate=candidate, dev=dev,
        verdict=verdict, version=version,
    )  # fmt: skip


def conclude(recording: Recording, status: str, previous: str | None = None, **made: Any) -> dict[str, Any]:
    """Publish what was made, close the run, and give its result."""
    report = stages.publish(recording, status=status, **made)
    verdict: Verdict | None = made.get("verdict")
    result = recording.result(
        status,
        verdict=verdict.outcome.value if verdict else None,
        version=made.get("version"),
        previous=previous,
        dataset=dataset_version(made["data"]),
        report=report,
    )
    recording.close(result)
    return result


def models_of(candidate: StageResult, incumbent: StageResult, start: StageResult) -> Models:
    """The policies to compare."""
    return Models(
        challenger=candidate.path / "model",
        challenger_weights=policy_weights(candidate),
        incumbent=incumbent.path / "model",
        incumbent_weights=policy_weights(incumbent),
        start=start.path / "model",
        start_weights=policy_weights(start),
    )


def already_settled(recording: Recording) -> dict[str, Any] | None:
    """The result ``unchanged`` if every stage is finished and its candidate was judged before; MLflow is not touched."""
    if recording.ledger.open_run(recording.identity) is not None:
        return None  # a killed run has something left to finish
    found = finished_run(recording.context)
    if found is None:
        return None
    known = settled(recording.ledger, recording.context.recipe.name, policy_weights(found.candidate), start_weights(found))
    if known is None:
        return None
    for stage in found.stages:
        recording.add(stage)
    return unchanged_result(recording, known, dataset_version(found.data))


def repeated(recording: Recording, models: Models, data: StageResult) -> dict[str, Any] | None:
    """The result ``unchanged`` if the candidate just made was judged before, in another run."""
    known = settled(recording.ledger, recording.context.recipe.name, models.challenger_weights, models.start_weights)
    if known is None:
        return None
    result = unchanged_result(recording, known, dataset_version(data))
    recording.close(result)
    return result


def unchanged_result(recording: Recording, known: Settled, dataset: str) -> dict[str, Any]:
    """The result of a run that would only repeat a verdict."""
    champion = recording.ledger.champion(recording.context.recipe.name)
    recording.details["reasons"] = ["this candidate was judged before; nothing was used and nothing was registered"]
    report = recording.context.home.reports / f"{known.run_id}.html"
    return recording.result(
        "unchanged",
        verdict=known.verdict.outcome.value,
        version=champion.version if champion else None,
        previous=champion.previous if champion else None,
        dataset=dataset,
        report=str(report) if report.is_file() else None,
        run_id=known.run_id,
    )


def verdict_of_this_run(recording: Recording, models: Models) -> Verdict | None:
    """The verdict that this very run had reached when it was killed."""
    known = settled(recording.ledger, recording.context.recipe.name, models.challenger_weights, models.start_weights)
    return known.verdict if known is not None and known.run_id == recording.open() else None


def scheduled_slot() -> str:
    """The logical date of this run, to the minute."""
    start: Any = flow_run.scheduled_start_time
    return str(start.strftime("%Y-%m-%dT%H:%M"))


@contextmanager
def recording_of(recipe: Recipe, home: Home) -> Iterator[Recording]:
    """A recording whose MLflow run is closed whatever happens."""
    check_writable(home.state)
    display = Display()
    context = Context(recipe, home)
    recording = Recording(context, Ledger(home.ledger), display)
    recording.context = Context(recipe, home, observer=recording)
    with display.live():
        try:
            yield recording
        except Exception:
            recording.fail("FAILED")
            raise
        except BaseException:  # Ctrl-C, or Prefect's own signal on SIGTERM
            recording.fail("KILLED")
            raise
