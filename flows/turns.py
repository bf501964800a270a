"""What a flow run decides before it begins: whether its slot has its turn, is skipped, or lets another go first."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import NoReturn
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import Pause
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Scheduled

from ratchet.components.errors import RecipeError
from ratchet.components.gate.items import Trained
from ratchet.components.ledger import slots
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.project import Project
from ratchet.components.project.trained import TrainedOn
from ratchet.components.recipe import When
from ratchet.components.run.outcome import RunResult
from ratchet.components.run.record import Run
from ratchet.components.scheduling import logical_dates as dates
from ratchet.components.scheduling.news import nothing_new
from ratchet.components.scheduling.turns import Action, Phase, SlotRun, Turn, named, turn_of, without_turn
from ratchet.components.stages.stage import Context
from ratchet.flows.cli.views.console import say
from ratchet.flows.dates import next_date
from ratchet.flows.reconcile import reconcile

SKIPPED = "Skipped"  # name of the state Completed of a run that had nothing to do or no turn
SECONDS = 20.0  # until a run that let another go first asks again; Prefect's own wait for a concurrency slot is 30
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
CAUGHT_UP = "ratchet-slot"  # tag of a flow run for a slot that Prefect's scheduler missed
STARTING = timedelta(minutes=10)  # a process that has not begun its work by then is not waited for
LONGEST = 64  # characters of a slot
MOST = 200  # flow runs per request, which is Prefect's limit


def this_flow_run() -> FlowRun | None:
    """This flow run, if a schedule made it."""
    if deployment.id is None:
        return None
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(UUID(flow_run.id))
    return found if of_schedule(found) else None


def of_schedule(run: FlowRun) -> bool:
    """Whether a flow run is of a slot: made by Prefect's scheduler, or by us for a slot that it missed."""
    return bool(run.auto_scheduled) or CAUGHT_UP in run.tags


def logical_date(found: FlowRun | None) -> str:
    """The slot of a run that nobody named: its scheduled time, or to the minute when it was begun by hand or by an event."""
    if found is not None and found.expected_start_time is not None:
        return named(found.expected_start_time)
    return str(flow_run.scheduled_start_time.strftime("%Y-%m-%dT%H:%M"))


def normalised(slot: str) -> str:
    """A slot that a person names, as the schedule would name it: a date with a time is taken in UTC; another text is as it is.

    Raises:
        RecipeError: if it is longer than the ledger keeps.
    """
    if len(slot) > LONGEST:
        raise RecipeError(
            f"the slot {slot[:LONGEST]!r}... is longer than {LONGEST} characters. Give a date such as 2026-11-27T02:00."
        )
    try:
        found = datetime.fromisoformat(slot) if len(slot) > len("2026-11-27") else None
    except ValueError:
        return slot
    if found is None:
        return slot
    return named(found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))


def not_now(project: Project, slot: str, found: FlowRun | None) -> State[None] | None:
    """The state ``Skipped`` of a scheduled run that has no turn; None if it has, or if no schedule made it.

    Raises:
        Pause: another goes first. The process ends, and Prefect starts the flow run again.
    """
    if found is None or found.deployment_id is None:
        return None
    with get_client(sync_client=True) as client:
        turn, holders = asked(client, project, found, found.deployment_id)
        if turn.action is Action.WAIT and holders:
            reconcile(project.home, say, watch=holders)  # one on another machine, or before a restart of this one, may be dead
            turn, _ = asked(client, project, found, found.deployment_id)
        if turn.action is Action.WAIT:
            give_way(client, found.id, turn.reason)
    why = turn.reason if turn.action is Action.SKIP else nothing_to_do(project)
    if why is None:
        return None
    slots.set_aside(project.ledger, dates.slot_of(project.recipe, slot), slots.SKIPPED)
    print(f"skipped: {why}", file=sys.stderr)
    return Completed(name=SKIPPED, message=why)


def asked(client: SyncPrefectClient, project: Project, found: FlowRun, deployment_id: UUID) -> tuple[Turn, list[str]]:
    """The turn of a flow run, after the others that have none were ended; and the identities of the runs at work."""
    now, rules, working = datetime.now(UTC), project.recipe.schedule, project.ledger.flow_runs_at_work()
    mine, *others = due_runs(client, project.ledger, found, deployment_id)
    if rules.missed == "none":  # Prefect may not have made the next flow run yet
        dated = [one.schedule for one in client.read_deployment(deployment_id).schedules if one.active]
        mine = replace(mine, following=next_date(dated, mine.slot))
    for other, reason in without_turn(mine, others, rules, now).items():  # so that no process has to start for it
        state = client.read_flow_run(UUID(other)).state
        if state is not None and state.is_scheduled():  # still
            client.set_flow_run_state(UUID(other), Completed(name=SKIPPED, message=reason))
            slots.set_flow_run_aside(project.ledger, other, slots.SKIPPED)
    holders = [working[other.id] for other in others if other.phase is Phase.WORKING and other.id in working]
    return turn_of(mine, others, rules, now), holders


def give_way(client: SyncPrefectClient, mine: UUID, reason: str) -> NoReturn:
    """End this process; Prefect starts the flow run again.

    Raises:
        Pause: always.
    """
    again: State[None] = Scheduled(
        scheduled_time=datetime.now(UTC) + timedelta(seconds=SECONDS), name="Waiting", message=reason
    )
    client.set_flow_run_state(mine, again, force=True)
    raise Pause(reason)


def nothing_to_do(project: Project) -> str | None:
    """Why a slot that has its turn has nothing to train on, by ``schedule.when``."""
    if project.recipe.schedule.when == When():
        return None
    context = Context(project.recipe, project.home)
    last = slots.last_look(project.ledger, project.name)
    trained_on = partial(TrainedOn(project, context).at_once, instead=Trained())
    return nothing_new(context, project.ledger, last, trained_on)


def due_runs(client: SyncPrefectClient, ledger: Ledger, found: FlowRun, deployment_id: UUID) -> list[SlotRun]:
    """This run; and its deployment's others that are not finished, next ones included, or that ended after this one's slot."""
    ours = FlowRunFilterDeploymentId(any_=[deployment_id])
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED)))
    unfinished = FlowRunFilter(deployment_id=ours, state=states)
    later = FlowRunFilter(deployment_id=ours, end_time=FlowRunFilterEndTime(after_=found.expected_start_time))
    first, last = FlowRunSort.EXPECTED_START_TIME_ASC, FlowRunSort.EXPECTED_START_TIME_DESC
    runs = {found.id: found}
    for asked, order in ((later, last), (unfinished, first)):
        for one in client.read_flow_runs(flow_run_filter=asked, sort=order, limit=MOST):
            runs.setdefault(one.id, one)
    working, left = ledger.flow_runs_at_work(), {taken.flow_run for taken in slots.abandoned(ledger)}
    dated = [(one, one.expected_start_time) for one in runs.values() if one.expected_start_time is not None]
    listed = []
    for one, slot in dated:
        at = phase(one, one.id == found.id, str(one.id) in working, str(one.id) in left)
        listed.append(SlotRun(str(one.id), slot, at, of_schedule(one), busy(client, one, at)))
    return listed


def phase(run: FlowRun, mine: bool, working: bool, left: bool) -> Phase:
    """Where a flow run is.

    Args:
        working, left: whether the ledger knows it as at work, or as having left its slot.
    """
    if run.state is None or run.state.is_scheduled() or mine:
        return Phase.INTERRUPTED if left else Phase.WAITING
    if run.state.is_final():
        return Phase.ENDED
    if working:
        return Phase.WORKING
    unheard = flow_run.flow_name == "finetune" or not run.state.is_running()  # the ledger knows no run with legs elsewhere
    return Phase.LOST if unheard and datetime.now(UTC) - run.state.timestamp > STARTING else Phase.ACTIVE


def busy(client: SyncPrefectClient, run: FlowRun, phase: Phase) -> list[tuple[datetime, datetime | None]]:
    """When a flow run's process ran, as far as is known: a crash may have been found much later than it happened."""
    if run.start_time is None or phase is Phase.LOST or (run.state is not None and run.state.name == SKIPPED):
        return []
    states = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
    return [
        (state.timestamp, following.timestamp if following else None)
        for state, following in pairwise([*states, None])
        if state is not None and state.is_running() and not (following and following.is_crashed())
    ]


def once(run: Run, slot: str | None, do: Callable[[], RunResult]) -> RunResult:
    """The result of the run, unless the work of its slot is done; its flow run is not a dead process's once that is known.

    Args:
        slot: None for a run without a logical date.
    """
    try:
        if slot is None:
            return do()
        return dates.once(run, dates.slot_of(run.recipe, slot), flow_run.id, is_cancelled, do)
    finally:
        if flow_run.id is not None and run.recorded:
            run.ledger.forget_flow_run(flow_run.id, run.claim.token)


def is_cancelled() -> bool:
    """Whether a person cancelled this flow run in Prefect; a signal alone may also be the end of a worker."""
    if flow_run.id is None:
        return False
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())
