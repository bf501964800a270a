"""One run per logical date: a second submission of a slot ends at once, without a stage and without a gate use."""

from collections.abc import Callable
from contextlib import suppress

from ratchet.components.errors import ClaimLostError, RegistryError
from ratchet.components.ledger import slots
from ratchet.components.ledger.slots import CANCELLED, FAILED, KILLED, PAUSED, RUNNING, Slot, Taken
from ratchet.components.recipe import Recipe, When
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Run
from ratchet.components.scheduling.news import look_at


def slot_of(recipe: Recipe, slot: str) -> Slot:
    """The slot of a recipe whose seed was resolved with it."""
    return Slot(recipe.name, slot, recipe.digest)


def once(run: Run, slot: Slot, flow_run: str | None, cancelled: Callable[[], bool], do: Callable[[], RunResult]) -> RunResult:
    """The result of the run, or ``unchanged`` if an earlier run did the work of its slot.

    Args:
        flow_run: the orchestrator's id of this run, if it has one.
        cancelled: whether a person ended the run, asked when a signal did; otherwise the slot is continued later.
        do: the run.
    """
    look = look_at(run.context) if run.recipe.schedule.when != When() else None
    taken = slots.take(run.ledger, slot, run.identity, flow_run, look)
    if taken.status != RUNNING:
        return already_done(run, taken)
    try:
        result = do()
    except ClaimLostError:
        raise  # the slot is another process's, or abandoned
    except Exception:
        with suppress(RegistryError):  # if the ledger itself failed, the slot is continued later
            slots.leave(run.ledger, taken, FAILED)
        raise
    except BaseException:
        slots.leave(run.ledger, taken, CANCELLED if cancelled() else KILLED)
        raise
    slots.leave(run.ledger, taken, PAUSED if result.stopped else result.status, result.run_id)
    return result


def already_done(run: Run, done: Taken) -> RunResult:
    """The result of a second run of a slot."""
    ended = run.ledger.result_of(run.recipe.name, done.run_id) if done.run_id else {}
    return RunResult(
        Status.UNCHANGED,
        version=ended.get("version"),
        previous=ended.get("previous"),
        run_id=done.run_id,
        reasons=[f"slot {done.slot.slot} was done before ({done.status}); nothing was computed and no gate use was spent"],
    )
