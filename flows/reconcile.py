"""Put right what dead processes left: runs, aliases, figures that MLflow does not have, Prefect's flow runs, slots."""

from collections.abc import Callable, Collection
from contextlib import suppress
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry

from ratchet.components.ledger import slots
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.slots import Taken
from ratchet.components.storage.home import Home
from ratchet.components.upkeep.aliases import complete_promotions
from ratchet.components.upkeep.killed import end_killed_runs
from ratchet.components.upkeep.unsent import send_journals
from ratchet.flows.servers.watcher import mark_crashed

KILLED = "The process of this run was killed. The same run resumes where it stopped."
MOST_ATTEMPTS = 3  # processes that a slot takes at most, if each was killed


def reconcile(home: Home, say: Callable[[str], None], prefect: bool = True, watch: Collection[str] = ()) -> None:
    """End killed runs in the ledger, in MLflow and in Prefect, move the aliases of promotions that were cut short, send what
    MLflow lacks, and let Prefect start those again that left a slot.

    Whether such a slot still has its turn is decided when it begins (:mod:`ratchet.flows.turns`).

    Args:
        say: called with each thing that was done.
        prefect: whether there is a Prefect server to ask.
        watch: see :func:`ratchet.components.upkeep.killed.end_killed_runs`.
    """
    end_killed_runs(home, say, watch)
    complete_promotions(home, say)
    send_journals(home, say)
    ledger = Ledger(home.ledger)
    if prefect:
        end_past_flow_runs(ledger)
    for taken in slots.abandoned(ledger):
        if taken.flow_run is not None and taken.flow_run == flow_run.id:
            continue  # this run resumes it
        if (said := _continued(ledger, taken) if prefect else _left(ledger, taken)) is not None:
            say(said)


def end_past_flow_runs(ledger: Ledger) -> None:
    """Mark the flow runs whose processes are gone, as far as this server knows them."""
    for past in ledger.past_flow_runs():
        with suppress(ObjectNotFound):  # another server's, which will be asked too
            if past != flow_run.id:  # which resumes
                mark_crashed(past, KILLED)
            ledger.forget_flow_run(past)


def _continued(ledger: Ledger, taken: Taken) -> str | None:
    """Start the flow run of an abandoned slot again; what to say about it."""
    if taken.flow_run is None:
        return _left(ledger, taken)
    with get_client(sync_client=True) as client:
        try:
            return _started_again(client, ledger, taken, client.read_flow_run(UUID(taken.flow_run)))
        except ObjectNotFound:  # another server's
            return _left(ledger, taken)


def _started_again(client: SyncPrefectClient, ledger: Ledger, taken: Taken, run: FlowRun) -> str | None:
    called = f"slot {taken.slot.slot} of {taken.slot.model}"
    if run.deployment_id is None or run.state is None:
        return _left(ledger, taken)
    if not run.state.is_final():
        return None  # it waits for its start, or a process that has no claim yet resumes it
    if run.state.is_completed():  # ended by a newer one that had the turn
        slots.set_aside(ledger, taken.slot, slots.SKIPPED)
        return None
    if run.state.is_cancelled():
        slots.set_aside(ledger, taken.slot, slots.CANCELLED)
        return f"{called} was cancelled, and is not started again"
    if taken.attempts >= MOST_ATTEMPTS and taken.status != slots.KILLED:
        slots.set_aside(ledger, taken.slot, slots.FAILED)
        return f"{called} was killed {taken.attempts} times, and is not started again"
    client.set_flow_run_state(run.id, AwaitingRetry(message="Its process was killed; this one continues."))
    return f"{called} was killed; Prefect starts it again"


def _left(ledger: Ledger, taken: Taken) -> str | None:
    """Said once of a slot that no server can start again."""
    if taken.status != slots.RUNNING:
        return None
    slots.set_aside(ledger, taken.slot, slots.LEFT)
    return f"slot {taken.slot.slot} of {taken.slot.model} was killed; `ratchet run --slot {taken.slot.slot}` resumes it"
