"""The right to promote, held by one process at a time: a lease that expires, with a fencing token that only increases.

The lease keeps two schedulers from working against each other. No clock is compared with another machine's: who waits takes
the lease over after watching it for its whole length, as with a run's claim. The token makes a process harmless that was
paused while it held the lease, since the ledger rejects every token but the newest (Kleppmann 2016, "How to do distributed
locking").
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ratchet.components.errors import RegistryError
from ratchet.components.faults import point
from ratchet.components.ledger.claims import POLL, Watched, this_process
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import leases

SECONDS = 120.0  # a promotion takes a few; a process that is silent for longer counts as dead
PATIENCE = 600.0


@contextmanager
def promotion_lease(ledger: Ledger, model: str) -> Iterator[int]:
    """The fencing token of the lease on a model's promotions, after waiting for its current holder.

    Raises:
        RegistryError: if other processes hold it all the time.
    """
    token = _acquired(ledger, model)
    point("lease:acquired")
    try:
        yield token
    finally:
        with suppress(RegistryError):  # what the block raised is what matters; the lease expires
            _release(ledger, model, token)


def _acquired(ledger: Ledger, model: str) -> int:
    """A new token, once no other process holds the lease, or one has held it for its whole length."""
    clock = ledger.clock
    watched, deadline = Watched(None, clock.time()), clock.time() + PATIENCE
    while True:
        begun = clock.time()
        with suppress(IntegrityError), ledger.transaction() as connection:  # another process took the first lease first
            found = connection.execute(sa.select(leases).where(leases.c.model == model)).mappings().first()
            if found is None or not found["held"] or watched.silent(found, begun):
                token = _take(connection, found, model)
                if token is not None:
                    return token
            elif not watched.same(found):
                watched = Watched(found, clock.time())
        if clock.time() > deadline:
            now = f"; now it is {watched.claim['holder']}" if watched.claim is not None else ""
            raise RegistryError(
                f"other processes have been promoting {model} for {PATIENCE:g} s{now}. Look for a process that hangs."
            )
        clock.sleep(POLL)


def _take(connection: sa.Connection, found: sa.RowMapping | None, model: str) -> int | None:
    """A new token, unless the lease was taken since it was read."""
    values = {"held": True, "holder": this_process(), "seconds": SECONDS}
    if found is None:
        connection.execute(leases.insert().values(model=model, token=1, **values))
        return 1
    token = int(found["token"]) + 1
    # If transactions do not lock what they read, another process may have taken the same token meanwhile.
    seen = sa.and_(leases.c.model == model, leases.c.token == found["token"])
    return token if connection.execute(leases.update().where(seen).values(token=token, **values)).rowcount else None


def _release(ledger: Ledger, model: str, token: int) -> None:
    with ledger.transaction() as connection:
        mine = sa.and_(leases.c.model == model, leases.c.token == token)
        connection.execute(leases.update().where(mine).values(held=False))
