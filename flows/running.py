"""A run around its story: the recipe is resolved, the slot has its turn, and whoever wants to know is told of the end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run

from ratchet.components.code.extras import require_optimizer, require_train
from ratchet.components.code.user_code import own_process
from ratchet.components.errors import PausedError, RecipeError
from ratchet.components.evaluation.benchmarks.tasks import require_libraries
from ratchet.components.interruption import Interrupted, admitted, commit_on_every_signal
from ratchet.components.notices.notice import notice_of
from ratchet.components.project.preflight import check_before_run
from ratchet.components.project.project import Project
from ratchet.components.provenance.outlook import outlook
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.run.outcome import RunResult
from ratchet.components.run.record import Run, claimed_run
from ratchet.components.run.told import told_of
from ratchet.components.stages.stage import Stage
from ratchet.components.storage.home import Home
from ratchet.components.upkeep.cleanup import clean_up_after_run
from ratchet.flows import endings, shown, tasks, turns
from ratchet.flows.cli.views.console import Display, print_result, say
from ratchet.flows.notifications import Tell, standstills_told, told_once
from ratchet.flows.reconcile import reconcile
from ratchet.flows.redaction import without_secrets
from ratchet.flows.servers.watcher import watched
from ratchet.flows.settings import apply

STOPS = (Stage.DATA, Stage.REWARD, Stage.TRAIN, Stage.EVALUATE, Stage.PLAN, Stage.GATE)  # stages after which a run can stop
REGISTERS = (None, Stage.GATE)  # stops of runs that may make a version

Story = Callable[[Run, Stage | None], RunResult]  # what a run does, up to a stage


def run_recipe(story: Story, recipe: str, overrides: list[str], until: str | None, slot: str | None) -> Any:
    """The state that the run ends in. Anything that is not an Exception remains a crash."""
    try:
        with admitted(), without_secrets():
            return run_to_the_end(story, recipe, overrides, until, slot)
    except Interrupted as end:
        return endings.interrupted(end)
    except Exception as error:
        return endings.error(error)


def run_to_the_end(story: Story, recipe: str, overrides: list[str], until: str | None, slot: str | None) -> State[Any]:
    """Resolve the recipe, run it unless its slot has no turn, and tell how it ended."""
    stop = stop_named(until)
    own_process()
    if deployment.id is not None:
        commit_on_every_signal()
    home = Home.here()
    apply(home)
    loaded = load_recipe(Path(recipe), overrides)
    with told_once(home, loaded) as tell:
        scheduled = turns.this_flow_run() if slot is None else None
        date = turns.normalised(slot) if slot else turns.logical_date(scheduled)
        project = opened(home, loaded, stop, date)
        if (skipped := turns.not_now(project, date, scheduled)) is not None:
            return skipped
        dated = stop is None and (slot is not None or scheduled is not None or loaded.seed == "slot")
        return ended(project, story, stop, date if dated else None, tell)


def opened(home: Home, recipe: Recipe, stop: Stage | None, date: str) -> Project:
    """The project of a recipe that this machine can run, with its seed; what dead processes left is put right."""
    require_train()
    check_before_run(home, recipe)
    if stop is None or Stage.TRAIN in stop.up_to():
        require_optimizer(recipe.train.optimizer)
    if stop not in Stage.TRAIN.up_to():
        require_libraries(recipe.evaluation)
    if recipe.seed == "slot":
        say(f"slot {date}; if this run is killed or stopped, --slot {date} resumes it")
    project = Project(home, recipe.with_slot(date), say)
    if stop in REGISTERS and (found := outlook(home.project, recipe)).reasons:
        say(f"note: a version that this run makes cannot be reproduced: {found.said}. {found.remedy}")
    if is_recorded(stop):
        reconcile(home, say, prefect=deployment.id is not None)
        standstills_told(home, project.ledger, recipe)
    return project


def ended(project: Project, story: Story, stop: Stage | None, slot: str | None, tell: Tell) -> State[Any]:
    """Run the story under the run's claim; print, tell and show its result.

    Args:
        slot: its logical date, if its work is to be done once.
    """
    recorded, display = is_recorded(stop), shown.Progress(Display(), project.name)
    shown.rename(project.name)
    with watched(flow_run.id if deployment.id else None), claimed_run(project, display, tasks.confirm, recorded) as run:
        if recorded:
            tasks.note_flow_run(run)
        result = turns.once(run, slot, lambda: finished_or_paused(story, run, stop))
        display.ended(result)
        print_result(result, run)
    said, page = told_of(run, result), shown.Pages(project.home.tracking_uri, project.name, result).run
    tell(notice_of(project.name, result, said, page or result.report))
    if run.figures.begun:
        clean_up_after_run(project, say)
    shown.rename(project.name, result)
    return endings.ended(project.name, result, said, project.home.tracking_uri)


def finished_or_paused(story: Story, run: Run, stop: Stage | None) -> RunResult:
    """The result of the run, to its end or until a person or a limit ends it for now."""
    try:
        return story(run, stop)
    except PausedError as end:
        return run.pause(end)


def is_recorded(stop: Stage | None) -> bool:
    """Whether MLflow and the ledger keep the run; a dry run leaves nothing there."""
    return stop is not Stage.PLAN


def stop_named(until: str | None) -> Stage | None:
    """The stage to stop after.

    Raises:
        RecipeError: if no run can stop there.
    """
    if until is None:
        return None
    if until not in STOPS:
        raise RecipeError(f"unknown stage {until!r}. Use one of {', '.join(STOPS)}.")
    return Stage(until)
