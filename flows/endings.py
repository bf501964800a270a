"""How Prefect shows the end of a run: the type, name and message of its state."""

import traceback
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateDetails
from prefect.exceptions import Abort, Pause
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import AwaitingRetry, Cancelled, Completed, Failed

from ratchet.components.errors import ClaimLostError, RatchetError
from ratchet.components.interruption import Interrupted
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.told import Told
from ratchet.components.text import redacted, visible
from ratchet.flows import shown

FAILED = frozenset({Status.REWARD_REFUSED, Status.INVALID, Status.STOPPED, Status.ERROR})  # the others are Completed


class UnsuccessfulRunError(RatchetError):
    """A run ended without an exception, but Failed in Prefect. ``result`` is what the flow would have returned."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def ended(model: str, result: RunResult, told: Told, tracking_uri: str) -> State[Any]:
    """The final state of a run; an artifact is left beside it.

    Returns:
        A Completed state with the shape of ``run --json`` as its data; or a Failed one, whose data is an
        UnsuccessfulRunError with it. A failed run is not retried: the same run would end in the same way.
    """
    shown.verdict(model, result, told, tracking_uri)
    name, message = name_of(result.status), message_of(result, told)
    if result.status in FAILED:
        return failed(name, message, UnsuccessfulRunError(message, result.as_json()))
    return Completed(name=name, message=visible(message), data=result.as_json())


def error(found: Exception) -> State[Any]:
    """The final state of a run that an error ended; the caller of the flow receives the error itself.

    Raises:
        Abort: if the claim was lost to a process that continues this flow run: its state is that process's.
    """
    get_run_logger().error(redacted("".join(traceback.format_exception(found))))
    if isinstance(found, ClaimLostError) and deployment.id is not None and is_anothers():
        raise Abort(str(found))
    return failed(name_of(Status.ERROR), redacted(f"{type(found).__name__}: {found}"), found)


def interrupted(end: Interrupted) -> State[Any]:
    """The final state of a run that a signal ended; one of a deployment that nobody cancelled is scheduled again instead.

    Raises:
        Pause: once it is scheduled: this process ends, and Prefect starts the same flow run again, with the same slot.
        Abort: if it was marked as crashed meanwhile, by somebody who could not know that the process lives; it stays so.
    """
    message = f"Ended by {end}. The same run resumes where it stopped."
    if deployment.id is None:
        return Cancelled(message=message)
    with get_client(sync_client=True) as client:
        this = UUID(flow_run.id)
        state = client.read_flow_run(this).state
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            return Cancelled(message=message)
        if state is not None and state.is_final():
            raise Abort(message)
        slot: Any = flow_run.scheduled_start_time  # again, so that it comes before those that became due meanwhile
        again: State[Any] = AwaitingRetry(scheduled_time=slot, message=message)
        client.set_flow_run_state(this, again)
    raise Pause(state=again)


def is_anothers() -> bool:
    """Whether Prefect has ended this flow run, or started it again in another process.

    Prefect is asked and not the ledger: it alone knows of the former, and of the latter before that process has a claim.
    """
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(UUID(flow_run.id))
    before: Any = flow_run.run_count  # as this process found it, which then began one more
    return known.run_count > before + 1 or (known.state is not None and known.state.is_final())


def failed(name: str, message: str, data: Exception) -> State[Any]:
    """A state that Prefect does not retry, whatever its settings say."""
    return Failed(name=name, message=visible(message), data=data, state_details=StateDetails(retriable=False))


def name_of(status: Status) -> str:
    """``reward_refused`` as ``RewardRefused``."""
    return "".join(part.capitalize() for part in status.split("_"))


def message_of(result: RunResult, told: Told) -> str:
    """One line: what happened, by how much, and where the report is."""
    report = f"Report: {result.report}" if result.report else ""
    return " ".join(part for part in (told.sentence, told.effect, report) if part)
