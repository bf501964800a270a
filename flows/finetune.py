"""The story: prepare data, warm up, validate the reward, train, evaluate, gate, promote."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import deployment, flow_run

from ratchet.components.errors import RecipeError
from ratchet.components.evaluation.benchmarks.tasks import require_libraries
from ratchet.components.home import Home
from ratchet.components.recipe import load_recipe
from ratchet.components.run.project import Project
from ratchet.components.stages.stage import Stage
from ratchet.components.user_code import own_process
from ratchet.flows import stages
from ratchet.flows.cli.views.console import print_result, say
from ratchet.flows.judgement import Trained, conclude, incumbent_of, incumbent_policy, settle
from ratchet.flows.recording import Recording, recording_of
from ratchet.flows.retention import tidy
from ratchet.flows.servers.watcher import watched
from ratchet.flows.settings import apply
from ratchet.flows.unchanged import already_settled

STOPS = (Stage.DATA, Stage.REWARD, Stage.TRAIN, Stage.EVALUATE, Stage.PLAN, Stage.GATE)  # where a run may be told to stop


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
    if until is not None and until not in STOPS:
        raise RecipeError(f"there is no stage {until!r}. Use one of {', '.join(STOPS)}.")
    own_process()
    home = Home.here()
    apply(home)
    slot = slot or scheduled_slot()
    loaded = load_recipe(Path(recipe), overrides)
    if until not in Stage.TRAIN.up_to():
        require_libraries(loaded.evaluation)
    if loaded.seed == "slot":
        say(f"slot {slot}; if this run is killed, --slot {slot} resumes it")
    resolved = loaded.with_slot(slot)
    with watched(flow_run.id if deployment.id else None), recording_of(Project(home, resolved, say)) as recording:
        result = tell(recording, until)
        print_result(result, recording.details)
    tidy(recording)
    return result


def tell(recording: Recording, until: str | None) -> dict[str, Any]:
    """The story itself; ends early where a stage refuses."""
    unchanged = already_settled(recording) if until is None else None
    if unchanged is not None:
        return unchanged

    data = stages.prepare_data(recording)
    if until == Stage.DATA:
        return recording.result("finished", dataset=data.version)
    champion = incumbent_of(recording)
    go_on = recording.context.recipe.policy.start == "champion"
    start = incumbent_policy(recording, champion) if champion and go_on else stages.warm_up(recording, data)

    reward = stages.validate_reward(recording, data, start)
    recording.details["reward"] = asdict(reward.report)
    if not reward.report.passed:
        refused = conclude(recording, "reward_refused", data=data, reward=reward)
        return {**refused, "failed_checks": reward.report.failed}
    if until == Stage.REWARD:
        return conclude(recording, "finished", data=data, reward=reward)

    candidate = stages.train(recording, data, start, reward)
    recording.details["reasons"] = [candidate.stop.text()] if candidate.stop else []
    if not candidate.may_be_judged(recording.context.recipe.gate.after_stop):
        return conclude(recording, "stopped", data=data, reward=reward, candidate=candidate)
    if until == Stage.TRAIN:
        return conclude(recording, "finished", data=data, reward=reward, candidate=candidate)

    return settle(recording, Trained(data, start, reward, candidate), champion, until)


def scheduled_slot() -> str:
    """The logical date of this run, to the minute."""
    start: Any = flow_run.scheduled_start_time
    return str(start.strftime("%Y-%m-%dT%H:%M"))
