"""One run per logical date: which slots of a schedule were taken, by which run, and how they ended."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import sqlalchemy as sa

from ratchet.components.errors import ClaimLostError
from ratchet.components.ledger.database import equal, next_in, now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import claims, slots

LEFT = "left"  # as running, and a person was told that its process is dead
RUNNING, KILLED, CANCELLED, FAILED, PAUSED, SKIPPED = "running", "killed", "cancelled", "failed", "paused", "skipped"
TO_DO = (RUNNING, LEFT, KILLED, CANCELLED, FAILED, PAUSED, SKIPPED, "error")  # the slot's work is not done

HELD = sa.exists().where(claims.c.run == slots.c.run, claims.c.held)  # a process acts for the slot's run, or did until it died


class Slot(NamedTuple):
    """A logical date of a recipe."""

    model: str
    slot: str
    recipe: str  # the recipe's digest: with another recipe, the same date is another run

    def where(self) -> list[sa.ColumnElement[bool]]:
        return equal(slots, self._asdict())


class Look(NamedTuple):
    """The data of a recipe as a run finds them."""

    data: str  # digest of the section data, of the tracked pointer and of every file
    rows: int  # of the source, before checks, and added ones


class Taken(NamedTuple):
    """A slot that a run took."""

    slot: Slot
    run: str  # the run's identity
    flow_run: str | None  # the orchestrator's id of the run that took it last
    status: str  # one of TO_DO, or how its run ended
    attempts: int  # processes that took it, not counting those after one that ended in order
    run_id: str | None  # MLflow's, of the run that did it


def take(ledger: Ledger, slot: Slot, run: str, flow_run: str | None, look: Look | None = None) -> Taken:
    """Record that a run works on a slot; its claim must be held. The status of what is returned is ``running`` then.

    Otherwise the slot's work is done, and its status says how it ended.

    Args:
        run: the run's identity.
        flow_run: the orchestrator's id, if it has one.
        look: its data, if the schedule depends on them.
    """
    seen = {"data": None, "rows": None} if look is None else look._asdict()
    values = {"run": run, "flow_run": flow_run, "status": RUNNING, "run_id": None, "at": now(), **seen}
    with ledger.decision() as connection:
        found = connection.execute(sa.select(slots).where(*slot.where())).mappings().first()
        if found is not None and found["status"] not in TO_DO:
            return _taken(found)
        attempts = 1 if found is None else _attempt(found["status"], found["attempts"])
        if found is None:
            connection.execute(slots.insert().values(**slot._asdict(), **values, attempts=attempts, sequence=next_in(slots)))
        else:
            connection.execute(slots.update().where(*slot.where()).values(**values, attempts=attempts, sequence=next_in(slots)))
    return Taken(slot, run, flow_run, RUNNING, attempts, None)


def leave(ledger: Ledger, mine: Taken, status: str, run_id: str | None = None) -> None:
    """Record how this process's work on a slot ended, or was left; nothing if it lost its claim, or another took the slot."""
    still = [*mine.slot.where(), slots.c.status == RUNNING, slots.c.run == mine.run]
    with suppress(ClaimLostError), ledger.decision() as connection:
        connection.execute(slots.update().where(*still).values(status=status, run_id=run_id, at=now()))


def set_aside(ledger: Ledger, slot: Slot, status: str) -> None:
    """Record that nobody does a slot for now; nothing if its work is done, or a run is at it."""
    _set_aside(ledger, slot.where(), status)


def set_flow_run_aside(ledger: Ledger, flow_run: str, status: str) -> None:
    """The same of the slot that a flow run took."""
    _set_aside(ledger, [slots.c.flow_run == flow_run], status)


def _set_aside(ledger: Ledger, which: Sequence[sa.ColumnElement[bool]], status: str) -> None:
    idle = [*which, slots.c.status.in_(TO_DO), ~HELD]
    with ledger.transaction() as connection:
        connection.execute(slots.update().where(*idle).values(status=status, at=now()))


def abandoned(ledger: Ledger, model: str | None = None) -> list[Taken]:
    """Slots whose process ended without a word or by a signal, oldest first; not those that a person ended.

    A slot whose run's claim is held counts as alive: see :mod:`ratchet.components.upkeep.killed`.
    """
    these = [slots.c.status.in_((RUNNING, LEFT, KILLED)), ~HELD, *([slots.c.model == model] if model is not None else [])]
    with ledger.transaction() as connection:
        return [_taken(row) for row in connection.execute(sa.select(slots).where(*these).order_by(slots.c.slot)).mappings()]


def slots_left(ledger: Ledger) -> dict[str, str]:
    """The logical date whose work is not done, by the identity of the run that took it last."""
    with ledger.transaction() as connection:
        query = sa.select(slots.c.run, slots.c.slot).where(slots.c.status.in_(TO_DO)).order_by(slots.c.sequence)
        return {row.run: row.slot for row in connection.execute(query)}


def last_look(ledger: Ledger, model: str) -> Look | None:
    """The data of the slot of a model that was taken last and whose work is done, as far as its schedule depended on them."""
    done = [slots.c.model == model, slots.c.status.not_in(TO_DO), slots.c.data.is_not(None)]
    with ledger.transaction() as connection:
        query = sa.select(slots.c.data, slots.c.rows).where(*done).order_by(slots.c.sequence.desc()).limit(1)
        found = connection.execute(query).first()
    return None if found is None else Look(*found)


def _attempt(status: str, attempts: int) -> int:
    """The number of the process that takes a slot; it is 1 again after an end that a person looked at."""
    if status in (RUNNING, LEFT):
        return attempts + 1
    return attempts if status == KILLED else 1


def _taken(row: sa.RowMapping) -> Taken:
    return Taken(Slot(row["model"], row["slot"], row["recipe"]), *(row[name] for name in Taken._fields[1:]))
