"""The right to act for a run, held by one process at a time: a claim in the ledger that its holder renews.

A lease with a fencing token (Gray and Cheriton 1989; Kleppmann 2016). No clock is compared with another machine's: the holder
counts from the start of its last successful renewal, and a contender takes over after watching the claim for
its whole lifetime without a renewal. A holder that was paused or cut off cannot know that. The token makes it harmless, since
every decision of a run is written in one transaction with a check of the token (:meth:`Claim.fence`).
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ratchet.components.errors import ClaimLostError, LedgerUnavailableError, RegistryError
from ratchet.components.ledger.clock import uptime
from ratchet.components.ledger.engine import LOCK_TIMEOUT_SECONDS
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import claims, stops

LIFETIME = "RATCHET_CLAIM_SECONDS"
SECONDS = 300.0  # longer than a database restarts, or an extension module holds the interpreter's lock
RENEWALS = 10  # per lifetime
POLL = 1.0


def lifetime() -> float:
    """Seconds without a renewal after which a claim has expired.

    Raises:
        RegistryError: if RATCHET_CLAIM_SECONDS is not a number of at least 1.
    """
    text = os.environ.get(LIFETIME, str(SECONDS))
    with suppress(ValueError):
        if 1 <= float(text) < float("inf"):
            return float(text)
    raise RegistryError(f"{LIFETIME} is {text!r}. Set a number of seconds, at least 1, or unset it for {SECONDS:g}.")


class Claim:
    """A claim that this process holds, until it is released, expires, or is taken over."""

    def __init__(
        self, ledger: Ledger, run: str, token: int, seconds: float, renewed: float, clock: Callable[[], float]
    ) -> None:
        """
        Args:
            seconds: the claim's lifetime.
            renewed: when the acquisition was begun, by ``clock``.
        """
        self.ledger, self.run, self.token, self.seconds, self.clock = ledger, run, token, seconds, clock
        self.process = os.getpid()
        self.stop_asked_by: str | None = None  # who wants this run to stop; read at each renewal
        self._renewed = renewed  # start of the last successful renewal
        self._lost: str | None = None  # why; final
        self._trouble: Exception | None = None  # the error of the last renewal
        self._asked = sa.select(stops.c.by).where(stops.c.run == run, stops.c.token == token)
        self._mine = sa.and_(claims.c.run == run, claims.c.token == token, claims.c.held)

    def check(self) -> None:
        """Whether this process may continue the run, from memory: cheap enough for every training step.

        Raises:
            ClaimLostError: if it may not, permanently.
        """
        if os.getpid() != self.process:
            raise ClaimLostError(
                f"process {os.getpid()} was forked from process {self.process}, and only that continues the run. "
                "Use a subprocess instead of a fork."
            )
        if self._lost is None and self.clock() - self._renewed >= self.seconds:
            reason = f" ({self._trouble})" if self._trouble else ": the process was paused or got no processor time"
            self._lost = (
                f"this run did not renew its claim in the ledger for {self.seconds:g} s{reason}. "
                "It does not promote. Run again; finished stages are kept."
            )
        if self._lost is not None:
            raise ClaimLostError(self._lost)

    def fence(self, connection: sa.Connection) -> None:
        """Check the token inside a transaction; no other process can take the claim over until it ends.

        Raises:
            ClaimLostError: if this process may not continue the run; the transaction is rolled back with it.
        """
        self.check()
        if not self._touch(connection):
            self._lost = self._taken_over(connection)
            self.check()

    def confirm(self) -> None:
        """Renew now; wait for a ledger that is out of reach, locked or full until the claim expires.

        Raises:
            ClaimLostError: if this process may not continue the run.
            RegistryError: if a person must help the ledger.
        """
        while True:
            try:
                return self._renew()
            except LedgerUnavailableError as error:
                self._trouble = error
                self.ledger.clock.sleep(self.seconds / RENEWALS)

    def explained(self, error: ClaimLostError) -> ClaimLostError:
        """The error, with the name of the process that took over: a paused process only knows that it was paused."""
        with suppress(RegistryError):  # unreachable
            if os.getpid() == self.process and not self.ours():
                with self.ledger.transaction() as connection:
                    return ClaimLostError(self._taken_over(connection))
        return error

    def ours(self) -> bool:
        """Whether no other process took the run over, even if the claim has expired."""
        if os.getpid() != self.process:
            return False
        with self.ledger.transaction() as connection:
            return self._touch(connection)

    @contextmanager
    def kept(self) -> Iterator["Claim"]:
        """Renew from a thread within the block, and release after it."""
        ended = threading.Event()
        thread = threading.Thread(target=self._keep, args=(ended,), name="claim", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            if os.getpid() == self.process:
                ended.set()
                thread.join(LOCK_TIMEOUT_SECONDS)
                with suppress(RegistryError):  # the claim expires anyway, and the block's own error matters more
                    self._release()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(self.seconds / RENEWALS):
            try:
                self._renew()
            except ClaimLostError:
                return  # the next check of the run raises it
            except Exception as error:  # a locked or unreachable ledger may recover before the claim expires
                self._trouble = error

    def _renew(self) -> None:
        self.check()
        begun = self.clock()  # before the transaction: a contender counts from when it sees the renewal, which is never earlier
        with self.ledger.transaction() as connection:
            self.fence(connection)
            self.stop_asked_by = connection.execute(self._asked).scalar()
        self._renewed, self._trouble = begun, None

    def _touch(self, connection: sa.Connection) -> bool:
        """Count a renewal; false if another process holds the claim."""
        return bool(connection.execute(claims.update().where(self._mine).values(renewals=claims.c.renewals + 1)).rowcount)

    def _taken_over(self, connection: sa.Connection) -> str:
        holder = connection.execute(sa.select(claims.c.holder).where(claims.c.run == self.run)).scalar_one()
        return (
            f"{holder} took this run over while process {self.process} was silent. "
            f"Process {self.process} stops and does not promote. See `ratchet status` for the result of the run."
        )

    def _release(self) -> None:
        with self.ledger.transaction() as connection:
            connection.execute(claims.update().where(self._mine).values(held=False))


@contextmanager
def claimed(ledger: Ledger, run: str, place: str, tell: Callable[[str, float], None]) -> Iterator[Claim]:
    """Hold the claim on a run within the block; it fences every decision in the ledger.

    Args:
        run: the run's identity.
        place: identifies a lock that the caller holds. An earlier claimant from this place held it too, so it is gone.
        tell: called once with the holder that is waited for and the claim's lifetime.
    """
    with acquired(ledger, run, place, tell).kept() as claim:
        before, ledger.fence = ledger.fence, claim.fence
        try:
            yield claim
        except ClaimLostError as error:
            raise claim.explained(error) from error
        finally:
            ledger.fence = before


def acquired(
    ledger: Ledger, run: str, place: str, tell: Callable[[str, float], None], clock: Callable[[], float] = uptime
) -> Claim:
    """The claim on a run, once no other live claim exists."""
    seconds, watched = lifetime(), Watched(None, clock())
    while True:
        begun = clock()
        with suppress(IntegrityError), ledger.transaction() as connection:  # another process claimed the run first
            found = connection.execute(sa.select(claims).where(claims.c.run == run)).mappings().first()
            if found is None or not found["held"] or found["place"] == place or watched.silent(found, begun):
                token = _take(connection, found, run, place, seconds)
                if token is not None:
                    return Claim(ledger, run, token, seconds, begun, clock)
            elif not watched.same(found):
                if watched.claim is None:
                    tell(found["holder"], found["seconds"])
                watched = Watched(found, clock())
        ledger.clock.sleep(POLL)


def taken_from_silent(ledger: Ledger, run: str, place: str, clock: Callable[[], float] = uptime) -> Claim | None:
    """The claim of a run whose holder was silent for its lifetime; None as soon as it is renewed, released or taken."""
    seconds, watched = lifetime(), Watched(None, clock())
    while True:
        begun = clock()
        with ledger.transaction() as connection:
            query = sa.select(claims).where(claims.c.run == run, claims.c.held)
            found = connection.execute(query).mappings().first()
            if found is None or not (watched.claim is None or watched.same(found)):
                return None
            if watched.silent(found, begun):
                token = _take(connection, found, run, place, seconds)
                return None if token is None else Claim(ledger, run, token, seconds, begun, clock)
        if watched.claim is None:
            watched = Watched(found, clock())
        ledger.clock.sleep(POLL)


class Watched(NamedTuple):
    """Another process's claim or lease, and when it was first seen. A lease is not renewed."""

    claim: Any
    since: float

    def same(self, found: Any) -> bool:
        """Whether it has been neither renewed nor taken over since."""
        return self.claim is not None and all(self.claim.get(name) == found.get(name) for name in ("token", "renewals"))

    def silent(self, found: Any, now: float) -> bool:
        """Whether it was watched for its whole lifetime without a renewal."""
        return self.same(found) and bool(now - self.since >= found["seconds"])


def this_process() -> str:
    """What a claim or a lease calls its holder."""
    return f"process {os.getpid()} on {socket.gethostname()}"[:120]


def is_here(holder: str) -> bool:
    """Whether a holder, as a claim calls it, is on this machine."""
    return holder.endswith(f" on {socket.gethostname()}"[:120])


def _take(connection: sa.Connection, found: Any, run: str, place: str, seconds: float) -> int | None:
    """A new token, unless the claim was renewed or taken since it was read."""
    holder = this_process()
    values = {"holder": holder, "place": place, "seconds": seconds, "held": True, "renewals": 0}
    if found is None:
        connection.execute(claims.insert().values(run=run, token=1, **values))
        return 1
    token = int(found["token"]) + 1
    same = sa.and_(*(claims.c[name] == found[name] for name in ("run", "token", "renewals", "held")))
    if not connection.execute(claims.update().where(same).values(token=token, **values)).rowcount:
        return None
    if found["holder"] == holder:  # this process claimed the run before, and who asked it to stop still means it
        before = sa.and_(stops.c.run == run, stops.c.token == found["token"])
        connection.execute(stops.update().where(before).values(token=token))
    return token
