"""The story: prepare data, warm up, validate the reward, train, evaluate, gate, promote."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from components.errors import RecipeError
from components.home import Home
from components.pipeline.context import StageResult
from components.pipeline.data import dataset_version
from components.pipeline.evaluate import Models, evaluation_summary
from components.pipeline.gate import plan_use
from components.pipeline.policy import policy_weights
from components.pipeline.reward import reward_report
from components.pipeline.train import training_facts
from components.recipe import load_recipe
from components.records import Outcome, Verdict
from components.registry.ledger import Promotion
from components.registry.promotion import reconcile
from flows import stages
from flows.console import console, print_result
from flows.recording import Recording, recording_of
from flows.settings import apply
from flows.unchanged import already_settled, repeated, verdict_of_this_run

STAGES = ("data", "reward", "train", "evaluate", "plan", "gate")
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
        until: stop after this stage: data, reward, train, evaluate, plan (what the gate would do) or gate.
        slot: logical date, for recipes with ``seed: slot``; by default when the run was scheduled.

    Returns:
        The shape of ``run --json``.
    """
    # No more here: serving pickles this body with every global it names, and a console cannot be pickled.
    return run_recipe(recipe, overrides or [], until, slot)


def run_recipe(recipe: str, overrides: list[str], until: str | None, slot: str | None) -> dict[str, Any]:
    """Resolve the recipe, tell the story, print its result."""
    if until is not None and until not in STAGES:
        raise RecipeError(f"there is no stage {until!r}. Use one of {', '.join(STAGES)}.")
    home = Home.here()
    apply(home)
    slot = slot or scheduled_slot()
    loaded = load_recipe(Path(recipe), overrides)
    if loaded.seed == "slot":
        console.print(f"slot {slot}; if this run is killed, --slot {slot} goes on with it", highlight=False)
    resolved = loaded.with_slot(slot)
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
    champion = incumbent_of(recording)
    go_on = recording.context.recipe.policy.start == "champion"
    start = incumbent_policy(recording, champion) if champion and go_on else stages.warm_up(recording, data)

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

    models = models_of(candidate, incumbent_policy(recording, champion) if champion else start, start, reward)
    verdict = verdict_of_this_run(recording, models)
    if verdict is None and until is None and (unchanged := repeated(recording, models, data)):
        return unchanged
    dev = stages.evaluate(recording, data, models)
    recording.details["evaluation"] = evaluation_summary(dev)
    if until == "evaluate":
        return conclude(recording, "finished", data=data, reward=reward, candidate=candidate, dev=dev)

    if until == "plan":
        return planned(recording, models, champion is None, data=data, reward=reward, candidate=candidate, dev=dev)

    version = stages.register(recording, data, dev, candidate)
    if verdict is None:
        verdict = stages.gate(recording, data, dev, models, champion is None)
    previous = champion.version if champion else None
    status = STATUS[verdict.outcome]
    recording.details["reasons"] = verdict.reasons
    if verdict.outcome is Outcome.PROMOTE and until is None:
        previous = stages.move_champion(recording, version, verdict, champion.sequence if champion else 0)
    elif verdict.outcome is Outcome.PROMOTE:
        status = "finished"
        recording.details["reasons"] = ["the gate says PROMOTE; `ratchet run` with this recipe promotes it"]
    return conclude(
        recording, status, previous, data=data, reward=reward, candidate=candidate, dev=dev,
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


def planned(recording: Recording, models: Models, first_champion: bool, **made: Any) -> dict[str, Any]:
    """What the gate would do: the shape of ``run --json``, and ``gate`` with fold, use, level, test and power."""
    plan = plan_use(recording.context, recording.ledger, made["data"], made["dev"], models, first_champion)
    recording.details["reasons"] = plan.said
    return {**conclude(recording, "finished", **made), "gate": plan.as_json()}


def incumbent_of(recording: Recording) -> Promotion | None:
    """The champion that this run's candidate is judged against.

    Where this very run had promoted its candidate before it was killed, that is the champion before it.
    """
    recipe = recording.context.recipe
    champion = reconcile(recording.ledger, recording.tracker, recipe.name)
    if champion is None or champion.run_id != recording.begun:
        return champion
    before = recording.ledger.history(recipe.name)[:-1]
    return before[-1] if before else None


def incumbent_policy(recording: Recording, champion: Promotion) -> StageResult:
    """The champion's policy, fetched once a run."""
    known = [stage for stage in recording.stages if stage.finished.stage == "champion"]
    return known[0] if known else stages.fetch_champion(recording, champion.version, champion.weights)


def models_of(candidate: StageResult, incumbent: StageResult, start: StageResult, reward: StageResult) -> Models:
    """The policies to compare."""
    return Models(
        challenger=candidate.path / "model",
        challenger_weights=policy_weights(candidate),
        incumbent=incumbent.path / "model",
        incumbent_weights=policy_weights(incumbent),
        start=start.path / "model",
        start_weights=policy_weights(start),
        reward=reward.path,
        reward_digest=reward.finished.digest,
    )


def scheduled_slot() -> str:
    """The logical date of this run, to the minute."""
    start: Any = flow_run.scheduled_start_time
    return str(start.strftime("%Y-%m-%dT%H:%M"))
