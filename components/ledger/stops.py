"""Requests that a run stop after its next checkpoint. Its holder, on whatever machine, reads them when it renews its claim."""

import re
from typing import NamedTuple

import sqlalchemy as sa

from ratchet.components.errors import RecipeError
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
    token: int


def ask_to_stop(ledger: Ledger, name: str, by: str) -> Request:
    """Ask the process that holds a run's claim to stop; idempotent.

    Args:
        name: the run's id, or its beginning.
        by: who asks.

    Raises:
        RecipeError: if there is no such run, several begin so, or no process acts for it.
    """
    with ledger.transaction() as connection:
        run = _named(connection, name)
        held = sa.select(claims.c.token, claims.c.holder).where(claims.c.run == run["identity"], claims.c.held)
        claim = connection.execute(held).mappings().first()
        if claim is None or run["result"] is not None:
            raise RecipeError(f"run {run['run_id']} of {run['model']} is not in progress: its status is {run['status']}.")
        connection.execute(stops.delete().where(stops.c.run == run["identity"]))
        connection.execute(stops.insert().values(run=run["identity"], token=claim["token"], by=by[:80], at=now()))
        return Request(run["run_id"], run["model"], claim["holder"], run["identity"], claim["token"])


def asked_by(connection: sa.Connection, run: str, token: int) -> str | None:
    """Who asked the holder of a claim to stop; None if nobody did."""
    return connection.execute(sa.select(stops.c.by).where(stops.c.run == run, stops.c.token == token)).scalar()


def is_held(ledger: Ledger, request: Request) -> bool:
    """Whether the process that was asked still acts for the run."""
    same = sa.and_(claims.c.run == request.run, claims.c.token == request.token, claims.c.held)
    with ledger.transaction() as connection:
        return connection.execute(sa.select(claims.c.run).where(same)).first() is not None


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
