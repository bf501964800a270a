"""Requests that a run stop after its next checkpoint. Its holder, on whatever machine, reads them when it renews its claim."""

import re
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.claims import POLL, Watched
from ratchet.components.ledger.clock import uptime
from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import claims, runs, stops

NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


class Request(NamedTuple):
    """A request, and the claim that it is for."""

    run_id: str
    model: str
    holder: str
    run: str  # the identity


def ask_to_stop(ledger: Ledger, name: str, by: str) -> Request:
    """Ask the process that holds a run's claim to stop; idempotent.

    Args:
        name: the run's id, or its beginning.
        by: who asks.

    Raises:
        RecipeError: if there is no such run, several begin so, or no process acts for it yet or any longer.
    """
    with ledger.transaction() as connection:
        run = _named(connection, name)
        held = sa.select(claims).where(claims.c.run == run["identity"], claims.c.held)
        claim = connection.execute(held).mappings().first()
        called = f"run {run['run_id']} of {run['model']}"
        if claim is None or run["result"] is not None:
            raise RecipeError(f"{called} is not in progress: its status is {run['status']}.")
        if run["status"] != "running":
            again = "Ask again once `ratchet status` says that it is running."
            raise RecipeError(f"{called} is {run['status']}, and {claim['holder']} is about to resume it. {again}")
        connection.execute(stops.delete().where(stops.c.run == run["identity"]))
        connection.execute(stops.insert().values(run=run["identity"], token=claim["token"], by=by[:80], at=now()))
        return Request(run["run_id"], run["model"], claim["holder"], run["identity"])


def model_of(ledger: Ledger, name: str) -> str:
    """The model of the run whose id begins with a name.

    Raises:
        RecipeError: if there is no such run, or several begin so.
    """
    with ledger.transaction() as connection:
        return str(_named(connection, name)["model"])


def wait_for_end(ledger: Ledger, request: Request, clock: Callable[[], float] = uptime) -> str:
    """Wait until the process that was asked has let go of the run; returns the run's status.

    Raises:
        RecipeError: if the process is dead: it did not renew its claim for the claim's whole lifetime.
    """
    watched = Watched(None, clock())
    while (found := _asked(ledger, request.run)) is not None:
        if watched.silent(found, clock()):
            dead = f"{request.holder} did not renew its claim for {found['seconds']:g} s, so it is dead"
            raise RecipeError(f"{dead}. The command that started the run resumes it.")
        if not watched.same(found):
            watched = Watched(found, clock())
        ledger.clock.sleep(POLL)
    with ledger.transaction() as connection:
        # By the identity: MLflow may have opened the run meanwhile, and given it another id.
        newest = sa.select(runs.c.status).where(runs.c.identity == request.run).order_by(runs.c.sequence.desc())
        return str(connection.execute(newest).scalar())


def _asked(ledger: Ledger, run: str) -> sa.RowMapping | None:
    """The claim that is held on a run and whose holder was asked to stop."""
    same = sa.and_(stops.c.run == claims.c.run, stops.c.token == claims.c.token)
    query = sa.select(claims).join(stops, same).where(claims.c.run == run, claims.c.held)
    with ledger.transaction() as connection:
        return connection.execute(query).mappings().first()


def _named(connection: sa.Connection, name: str) -> sa.RowMapping:
    """The one run whose id begins with a name; of an id that is whole, that run."""
    remedy = "Give an id that `ratchet status` prints."
    if not NAME.fullmatch(name):
        raise RecipeError(f"{name!r} is not the id of a run. {remedy}")
    begins = sa.select(runs).where(runs.c.run_id.startswith(name, autoescape=True))
    found = connection.execute(begins).mappings().all()
    found = [run for run in found if run["run_id"] == name] or found
    if len(found) != 1:
        raise RecipeError(f"{len(found) or 'no'} runs have an id that begins with {name!r}. {remedy}")
    return found[0]
