"""One run over several work pools: legs, each up to a stage, here or by a deployment of the flow on another pool.

Finished stages are in the shared store by their content, and the run is known by its recipe, slot and code. So each leg
continues the same run, and begins when the one before has released its claim.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment as deployed
from prefect.runtime import flow_run
from prefect.states import Cancelling, Completed
from pydantic import BaseModel, ConfigDict

from ratchet.components.errors import RatchetError, RecipeError
from ratchet.components.interruption import Interrupted, admitted
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.run.outcome import Status
from ratchet.components.storage.home import Home
from ratchet.flows import endings, turns
from ratchet.flows.cli.views.console import say
from ratchet.flows.finetune import tell
from ratchet.flows.running import run_recipe, stop_named
from ratchet.flows.servers.watcher import watched
from ratchet.flows.settings import apply

POLL_SECONDS = 10.0


class Leg(BaseModel):
    """A part of the run: up to and with the stage ``until``, the last one to the end; by a deployment, or else here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: str | None = None
    deployment: str | None = None  # flow/deployment, such as finetune/gpu


TRAINING_ELSEWHERE = [Leg(until="reward"), Leg(until="train", deployment="finetune/gpu"), Leg()]


@flow(name="split", flow_run_name="{recipe}", persist_result=False, retries=0)
def split(
    recipe: str = "ratchet.yaml",
    overrides: list[str] | None = None,
    slot: str | None = None,
    legs: list[Leg] = TRAINING_ELSEWHERE,
) -> dict[str, Any] | None:
    """One fine-tuning run, parts of which run on other work pools.

    Args:
        recipe, overrides, slot: as of ``finetune``; each leg has the same.
        legs: in their order. By default training alone is elsewhere, by the deployment ``finetune/gpu``.

    Returns:
        What ``finetune`` returns; None if the leg that ended the run was elsewhere.

    Raises:
        UnsuccessfulRunError, RatchetError: as of ``finetune``, and if a leg elsewhere failed.
    """
    # Nothing more here, as in finetune.
    result: dict[str, Any] | None = run_legs(recipe, overrides or [], slot, legs)
    return result


def run_legs(recipe: str, overrides: list[str], slot: str | None, legs: Sequence[Leg]) -> Any:
    """The state of the first leg that ended the run, else of the last one."""
    try:
        check(legs)
        date, skipped = turn(recipe, overrides, slot)
    except Exception as error:
        return endings.error(error)
    if skipped is not None:
        return skipped
    for number, leg in enumerate(legs):
        if leg.deployment is None:
            state = run_recipe(tell, recipe, overrides, leg.until, date)
        else:
            given = {"recipe": recipe, "overrides": overrides, "until": leg.until, "slot": date}
            state = run_elsewhere(leg.deployment, given, number)
        if state.name != endings.name_of(Status.FINISHED):
            break
    return state


def turn(recipe: str, overrides: list[str], slot: str | None) -> tuple[str, State[Any] | None]:
    """The logical date of this run, and the state ``Skipped`` if the recipe's ``schedule`` gives it no turn."""
    home = Home.here()
    apply(home)
    scheduled = turns.this_flow_run() if slot is None else None
    date = turns.normalised(slot) if slot else turns.logical_date(scheduled)
    project = Project(home, load_recipe(Path(recipe), overrides).with_slot(date), say)
    return date, turns.not_now(project, date, scheduled)


def check(legs: Sequence[Leg]) -> None:
    """
    Raises:
        RecipeError: if a leg stops at an unknown stage, or the last one, and no other, does not run to the end.
    """
    for leg in legs:
        stop_named(leg.until)
    if [leg.until is None for leg in legs] != [False] * (len(legs) - 1) + [True]:
        raise RecipeError("legs: the last leg, and no other, runs to the end. Give each one before it an `until`.")


def run_elsewhere(deployment: str, parameters: Mapping[str, Any], number: int) -> State[Any]:
    """Run a leg by a deployment, and wait for it; the state to end in, or ``Finished``."""
    # Of this flow run and leg: if it is interrupted and resumes, it finds the flow run that it began.
    key = f"{flow_run.id}:{number}"
    try:
        with admitted(), watched(flow_run.id if deployed.id else None):
            begun: Any = run_deployment(deployment, parameters=dict(parameters), timeout=0, idempotency_key=key)
            say(f"{deployment} continues this run up to its stage {parameters['until'] or 'last'}; waiting")
            try:
                return passed_on(deployment, final_state(begun.id))
            except Interrupted as end:
                return interrupted(end, begun.id)
    except Interrupted as end:
        return endings.interrupted(end)
    except ObjectNotFound:
        return endings.error(RatchetError(f"the server has no deployment {deployment}. Create it: ratchet deploy."))
    except Exception as error:
        return endings.error(error)


def final_state(flow_run_id: UUID) -> State[Any]:
    """Wait until a flow run has ended; a server that is restarted meanwhile is waited for too."""
    while True:
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(flow_run_id).state
        except httpx.TransportError as error:
            say(f"Prefect's server does not answer ({type(error).__name__}); asking again")
        else:
            if state is not None and state.is_final():
                return state
        time.sleep(POLL_SECONDS)


def passed_on(deployment: str, state: State[Any]) -> State[Any]:
    """The state that a leg elsewhere ended in, as that of this run."""
    if state.is_completed():
        return Completed(name=state.name, message=state.message)
    name = state.name if state.is_failed() and state.name else endings.name_of(Status.ERROR)
    message = f"{deployment} ended as {state.name}: {state.message or 'without a message'}"
    return endings.failed(name, message, RatchetError(message))


def interrupted(end: Interrupted, elsewhere: UUID) -> State[Any]:
    """End on a signal: a cancelled run takes its leg with it; one that is resumed leaves the leg running."""
    state = endings.interrupted(end)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(elsewhere, Cancelling(message="The run of which this is a part was cancelled."))
    return state
