"""The right to promote, held by one process at a time: a lease that expires, with a fencing token that only increases.

The lease keeps two schedulers from working against each other. The token makes a process harmless that was paused
while it held the lease, since the ledger rejects every token but the newest (Kleppmann 2016, "How to do distributed locking").
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.faults import point
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import leases

SECONDS = 120.0  # a promotion takes a few; a process that is silent for longer counts as dead
PATIENCE = 600.0
POLL = 1.0


@contextmanager
def promotion_lease(ledger: Ledger, model: str) -> Iterator[int]:
    """The fencing token of the lease on a model's promotions, after waiting for its current holder.

    Raises:
        RegistryError: if other processes hold it all the time.
    """
    holder, deadline = uuid.uuid4().hex, ledger.clock.time() + PATIENCE
    while (token := _acquired(ledger, model, holder)) is None:
        if ledger.clock.time() > deadline:
            raise RegistryError(
                f"other processes have been promoting {model} for {PATIENCE:g} s. Look for a process that hangs."
            )
        ledger.clock.sleep(POLL)
    point("lease:acquired")
    try:
        yield token
    finally:
        _release(ledger, model, token)


def _acquired(ledger: Ledger, model: str, holder: str) -> int | None:
    """A new token, unless the lease of another process has not expired."""
    with ledger.transaction() as connection:
        row = connection.execute(sa.select(leases).where(leases.c.model == model)).mappings().first()
        if row is not None and row["expires"] > ledger.clock.time():
            return None
        token = 1 + (row["token"] if row is not None else 0)
        values = {"holder": holder, "token": token, "expires": ledger.clock.time() + SECONDS}
        if row is None:
            connection.execute(leases.insert().values(model=model, **values))
            return int(token)
        # If transactions do not lock what they read, another process may have taken the same token meanwhile.
        seen = sa.and_(leases.c.model == model, leases.c.token == row["token"])
        return int(token) if connection.execute(leases.update().where(seen).values(**values)).rowcount else None


def _release(ledger: Ledger, model: str, token: int) -> None:
    with ledger.transaction() as connection:
        mine = sa.and_(leases.c.model == model, leases.c.token == token)
        connection.execute(leases.update().where(mine).values(expires=0.0))
