"""One run per logical date: which slots of a schedule were taken, by which run, and how they ended."""

from typing import NamedTuple

import sqlalchemy as sa

from ratchet.components.ledger.database import equal, now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import claims, slots

RUNNING, KILLED, CANCELLED, FAILED, PAUSED, SKIPPED = "running", "killed", "cancelled", "failed", "paused", "skipped"
TO_DO = (RUNNING, KILLED, CANCELLED, FAILED, PAUSED, SKIPPED, "error")  # the slot's work is not done


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
    attempts: int  # how often a process took it
    run_id: str | None  # MLflow's, of the run that did it


def take(ledger: Ledger, slot: Slot, run: str, flow_run: str | None, look: Look | None = None) -> Taken | None:
    """Record that a run works on a slot; its claim must be held. A slot whose work is done is returned instead.

    Args:
        run: the run's identity.
        flow_run: the orchestrator's id, if it has one.
        look: its data, if the schedule depends on them.
    """
    seen = {"data": None, "rows": None} if look is None else look._asdict()
    values = {"run": run, "flow_run": flow_run, "status": RUNNING, "run_id": None, "at": now(), **seen}
    with ledger.decision() as connection:
        found = connection.execute(sa.select(slots).where(*slot.where())).mappings().first()
        if found is None:
            connection.execute(slots.insert().values(**slot._asdict(), **values, attempts=1))
        elif found["status"] in TO_DO:
            connection.execute(slots.update().where(*slot.where()).values(**values, attempts=found["attempts"] + 1))
        else:
            return _taken(found)
    return None


def leave(ledger: Ledger, slot: Slot, status: str, run_id: str | None = None) -> None:
    """Record how the work on a slot ended, or that it was left; nothing if no run took it."""
    with ledger.transaction() as connection:
        connection.execute(slots.update().where(*slot.where()).values(status=status, run_id=run_id, at=now()))


def abandoned(ledger: Ledger, model: str | None = None) -> list[Taken]:
    """Slots whose process ended without a word or by a signal, oldest first; not those that a person ended.

    A slot whose run's claim is held counts as alive: see :mod:`ratchet.components.run.killed`.
    """
    held = sa.exists().where(claims.c.run == slots.c.run, claims.c.held)
    these = [slots.c.status.in_((RUNNING, KILLED)), ~held, *([slots.c.model == model] if model is not None else [])]
    with ledger.transaction() as connection:
        return [_taken(row) for row in connection.execute(sa.select(slots).where(*these).order_by(slots.c.slot)).mappings()]


def last_look(ledger: Ledger, model: str) -> Look | None:
    """The data of the newest slot of a model whose work is done, as far as its schedule depended on them."""
    done = [slots.c.model == model, slots.c.status.not_in(TO_DO), slots.c.data.is_not(None)]
    with ledger.transaction() as connection:
        query = sa.select(slots.c.data, slots.c.rows).where(*done).order_by(slots.c.slot.desc()).limit(1)
        found = connection.execute(query).first()
    return None if found is None else Look(*found)


def begun(ledger: Ledger) -> set[str]:
    """The orchestrator's ids of the runs that work on a slot."""
    held = sa.exists().where(claims.c.run == slots.c.run, claims.c.held)
    query = sa.select(slots.c.flow_run).where(slots.c.status == RUNNING, slots.c.flow_run.is_not(None), held)
    with ledger.transaction() as connection:
        return {str(flow_run) for flow_run in connection.execute(query).scalars()}


def _taken(row: sa.RowMapping) -> Taken:
    return Taken(Slot(row["model"], row["slot"], row["recipe"]), *(row[name] for name in Taken._fields[1:]))
