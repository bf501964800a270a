"""One process acts for a run at a time; whoever lost the claim decides nothing, whatever its clock and its threads do."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import greenlet
import pytest
import sqlalchemy as sa

from ratchet.components.errors import ClaimLostError, RegistryError
from ratchet.components.ledger import engine
from ratchet.components.ledger.claims import LIFETIME, POLL, SECONDS, Claim, _take, acquired, claimed, lifetime
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.ledger.tables import claims, settings_table
from tests.ledger.fakes import FakeClock, count_use

VERDICT = {"challenger": "c", "incumbent": "i", "rules": "r", "outcome": "PROMOTE"}
DAY = 86400.0


class World(FakeClock):
    """A clock that lets the others do something whenever somebody waits."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float, /) -> None:
        super().sleep(seconds)
        self.meanwhile()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ledger(world: World) -> Ledger:
    return Ledger("sqlite:///:memory:", world)


@pytest.fixture
def file(tmp_path: Path) -> Ledger:
    """A ledger that several threads and processes can open, for tests in real time."""
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def claim(ledger: Ledger, place: str = "here", skew: float = 0.0, told: list[str] | None = None) -> Claim:
    tell = (told if told is not None else []).append
    return acquired(ledger, "run", place, lambda holder, _: tell(holder), lambda: ledger.clock.time() + skew)


def promote(ledger: Ledger) -> None:
    with promotion_lease(ledger, "m") as token:
        row = Promotion(1, "1", None, "w", "gate", "v", None, "r", now())
        ledger.promote("m", row, token=token, retire_fold="fold")


def test_a_claim_is_free_once_it_is_released_and_tokens_only_grow(ledger: Ledger, world: World) -> None:
    tokens, begun = [], world.time()
    for place in ("here", "there", "here"):
        taken = claim(ledger, place)
        tokens.append(taken.token)
        taken._release()
    assert (tokens, world.time()) == ([1, 2, 3], begun)


def test_whoever_claimed_from_a_place_whose_lock_we_hold_is_gone(ledger: Ledger, world: World) -> None:
    killed, begun = claim(ledger), world.time()
    assert claim(ledger).token == killed.token + 1
    assert world.time() == begun


@pytest.mark.parametrize("skew", [0.0, DAY, -DAY])
def test_a_contender_waits_while_the_holder_renews_whatever_their_clocks_say(ledger: Ledger, world: World, skew: float) -> None:
    holder, told = claim(ledger), list[str]()
    silent = world.time() + 5 * SECONDS
    world.meanwhile = lambda: holder.confirm() if world.time() <= silent else None
    claim(ledger, "there", skew, told)
    assert silent + SECONDS - POLL <= world.time() <= silent + SECONDS + POLL
    assert told == [f"process {os.getpid()} on {os.uname().nodename}"]


def test_a_claim_that_was_not_renewed_has_expired_though_nobody_wants_it(ledger: Ledger, world: World) -> None:
    holder = claim(ledger)
    world.sleep(SECONDS - 1)
    holder.check()
    world.sleep(1)
    with pytest.raises(ClaimLostError, match=r"did not renew .* for 300 s.* Run again"):
        holder.check()
    with pytest.raises(ClaimLostError):
        holder.confirm()  # and for ever, since others may rely on it


def test_who_was_paused_within_a_renewal_does_not_trust_it(ledger: Ledger, world: World) -> None:
    holder = claim(ledger)
    sa.event.listen(ledger.engine, "commit", lambda _: world.sleep(SECONDS), once=True)
    holder.confirm()
    with pytest.raises(ClaimLostError):
        holder.check()


def test_who_was_taken_over_hears_by_whom(ledger: Ledger, world: World) -> None:
    holder = claim(ledger)
    claim(ledger)  # as from the same place, so that no time passes
    holder.check()  # from memory it cannot know
    with pytest.raises(
        ClaimLostError, match=rf"^process {os.getpid()} on \S+ took this run over while process .*does not promote"
    ):
        holder.confirm()
    with pytest.raises(ClaimLostError, match="took this run over"):
        holder.check()
    assert not holder.ours()


@pytest.mark.parametrize(
    "decide",
    [
        promote,
        lambda ledger: count_use(ledger, "m", "fold", "c", "i", "rules"),
        lambda ledger: ledger.record_verdict("m", VERDICT, "digest", "r"),
        lambda ledger: ledger.retire("m", "fold", "spent"),
        lambda ledger: ledger.begin_run("run", "m", "r"),
        lambda ledger: ledger.finish_run("run", {"status": "promoted"}),
    ],
    ids=["promotion", "use", "verdict", "retirement", "begin", "end"],
)
def test_who_was_taken_over_decides_nothing(file: Ledger, decide: Callable[[Ledger], None]) -> None:
    def rows() -> list[object]:
        with file.transaction() as connection:
            tables = ("promotions", "retired_folds", "gate_uses", "verdicts", "runs")
            return [connection.execute(sa.text(f"SELECT * FROM {name}")).all() for name in tables]  # noqa: S608

    file.begin_run("run", "m", "before")
    before = rows()
    with claimed(file, "run", "here", lambda *_: None):
        claim(file)
        with pytest.raises(ClaimLostError, match="took this run over"):
            decide(file)
    assert rows() == before
    decide(file)  # a person, who acts for no run
    assert rows() != before


def test_a_promotion_is_under_the_claim_to_its_end(file: Ledger) -> None:
    with claimed(file, "run", "here", lambda *_: None):
        promote(file)
    assert [row.version for row in file.history("m")] == ["1"]


def test_a_claim_that_another_took_since_it_was_read_is_not_taken(ledger: Ledger) -> None:
    """Where transactions do not lock what they read."""
    claim(ledger)
    with ledger.transaction() as connection:
        stale = connection.execute(sa.select(claims)).mappings().one()
    claim(ledger)
    with ledger.transaction() as connection:
        assert _take(connection, stale, "run", "there", SECONDS) is None


def test_a_claim_that_was_renewed_since_it_was_read_is_not_taken(ledger: Ledger) -> None:
    holder = claim(ledger)
    with ledger.transaction() as connection:
        stale = connection.execute(sa.select(claims)).mappings().one()
    holder.confirm()
    with ledger.transaction() as connection:
        assert _take(connection, stale, "run", "there", SECONDS) is None


def test_a_ledger_from_before_there_were_claims_gets_them(file: Ledger) -> None:
    with file.transaction() as connection:
        claims.drop(connection)
        connection.execute(settings_table.update().values(value="4"))  # a number under which there were ledgers without claims
    assert claim(Ledger(str(file.url))).token == 1


@pytest.mark.parametrize("text", ["soon", "0", "-5", "0.5", "inf", "nan", ""])
def test_a_lifetime_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIFETIME, text)
    with pytest.raises(RegistryError, match=f"{LIFETIME} is .*Set a number"):
        lifetime()


# In real time, with a lifetime that a loaded machine does not exceed by itself.
SHORT = 2.0


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIFETIME, str(SHORT))


@pytest.mark.usefixtures("short")
def test_a_busy_loop_does_not_starve_the_renewals(file: Ledger) -> None:
    with claimed(file, "run", "here", lambda *_: None) as held:
        end = time.monotonic() + 2.1 * SHORT
        while time.monotonic() < end:
            sum(range(10_000))
        held.check()
        held.confirm()


@pytest.mark.usefixtures("short")
def test_without_its_thread_a_claim_expires(file: Ledger) -> None:
    held = acquired(file, "run", "here", lambda *_: None)
    time.sleep(SHORT)
    with pytest.raises(ClaimLostError):
        held.check()


@pytest.fixture
def locked(file: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """A call that locks the ledger's database for some seconds, which its users wait for only a moment."""
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_SECONDS", 0.05)
    other = sqlite3.connect(str(file.url.database), isolation_level=None, check_same_thread=False)

    def lock(seconds: float) -> None:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        other.execute("ROLLBACK")

    yield lock
    other.close()


@pytest.mark.usefixtures("short")
def test_a_ledger_that_is_locked_for_a_moment_does_not_end_the_renewals(file: Ledger, locked: Callable[[float], None]) -> None:
    with claimed(Ledger(str(file.url)), "run", "here", lambda *_: None) as held:
        locked(0.6 * SHORT)
        time.sleep(0.6 * SHORT)
        held.check()


@pytest.mark.usefixtures("short")
def test_a_ledger_that_is_locked_for_longer_ends_the_claim(file: Ledger, locked: Callable[[float], None]) -> None:
    with claimed(Ledger(str(file.url)), "run", "here", lambda *_: None) as held:
        locked(1.1 * SHORT)
        with pytest.raises(ClaimLostError, match="database is locked"):
            held.check()
        with pytest.raises(ClaimLostError, match="database is locked"):
            held.confirm()
    assert not held.ours()  # released, so that the next need not wait


@pytest.mark.usefixtures("short")
def test_confirming_waits_for_a_ledger_that_is_locked_for_a_moment(file: Ledger, locked: Callable[[float], None]) -> None:
    held = acquired(Ledger(str(file.url)), "run", "here", lambda *_: None)
    lock, began = threading.Thread(target=locked, args=(0.5,)), time.monotonic()
    lock.start()
    time.sleep(0.1)
    held.confirm()
    assert time.monotonic() - began >= 0.5
    lock.join()


def test_a_forked_child_neither_has_nor_frees_its_parents_claim(file: Ledger) -> None:
    parent = os.getpid()
    try:
        with claimed(file, "run", "here", lambda *_: None) as held:
            child = os.fork()
            if child == 0:
                held.check()  # leaves the block as an error in a stage does
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert held.ours()
    except BaseException as error:
        if os.getpid() == parent:
            raise
        os._exit(0 if isinstance(error, ClaimLostError) and f"forked from process {parent}" in str(error) else 1)


ZOMBIE = """
import sys
from ratchet.components.ledger.claims import claimed
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion

ledger = Ledger(sys.argv[1])
with claimed(ledger, "run", "here", print), promotion_lease(ledger, "m") as token:
    print("holding", flush=True)
    sys.stdin.readline()
    row = Promotion(1, "1", None, "w", "gate", "v", None, "r", "")
    ledger.promote("m", row, token=token)
"""


@pytest.mark.usefixtures("short")
def test_a_process_that_was_stopped_and_wakes_does_not_promote(url: str) -> None:
    """It stands before its last transaction, holds the lease on promotions, and its threads stand still with it."""
    file, command = Ledger(url), [sys.executable, "-c", ZOMBIE, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as zombie:
        assert zombie.stdout is not None
        assert zombie.stdout.readline() == "holding\n"
        zombie.send_signal(signal.SIGSTOP)
        told: list[str] = []
        taken = acquired(file, "run", "there", lambda holder, _: told.append(holder))
        zombie.send_signal(signal.SIGCONT)
        _, error = zombie.communicate("promote\n", timeout=60)
    assert told[0].startswith(f"process {zombie.pid} on ")
    assert f"ClaimLostError: process {os.getpid()} on " in error
    assert f"took this run over while process {zombie.pid} was silent" in error
    assert zombie.returncode == 1
    assert file.history("m") == []
    assert taken.token == 2


class Simulation:
    """One seed's world: processes whose clocks differ by days, that pause and die, and all want the same run."""

    def __init__(self, seed: int) -> None:
        self.draws = random.Random(seed)  # noqa: S311 - a simulation
        self.now, self.hub = 0.0, greenlet.getcurrent()
        self.ledger = Ledger("sqlite:///:memory:", self)
        self.decided: list[int] = []  # tokens, in the order in which they decided something
        self.events: Counter[str] = Counter()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += 20 * seconds * self.draws.random()
        self.hub.switch()

    def run(self) -> None:
        """All processes to their ends, in any order."""
        processes = [greenlet.greenlet(Process(self, number).run) for number in range(3)]
        while alive := [process for process in processes if not process.dead]:
            self.draws.choice(alive).switch()


class Process:
    """One that claims the run, decides things under the claim, and releases it or dies, some times over."""

    def __init__(self, world: Simulation, number: int) -> None:
        self.world, self.place, self.skew = world, f"place {number}", (number - 1) * DAY
        self.frozen = False

    def clock(self) -> float:
        return self.world.now + self.skew

    def run(self) -> None:
        world = self.world
        for _ in range(5):
            held = acquired(world.ledger, "run", self.place, lambda *_: None, self.clock)
            try:
                for _ in range(world.draws.randrange(1, 20)):
                    self.pause()
                    self.step(held)
            except ClaimLostError as error:
                taken_over = "took" in str(error)
                assert self.frozen or not taken_over  # whoever has a clock that runs knows first
                world.events["taken over" if taken_over else "expired"] += 1
                continue
            if world.draws.random() < 0.5:
                held._release()

    def pause(self) -> None:
        """Mostly for less than a lifetime; now and then the process's own clock stands still, as a paused machine's does."""
        begun, frozen = self.world.now, self.world.draws.random() < 0.1
        for _ in range(60 if frozen else self.world.draws.choice([1, 1, 1, 60])):
            self.world.sleep(1)
        if frozen:
            self.skew -= self.world.now - begun
            self.frozen = True

    def step(self, held: Claim) -> None:
        held.confirm()
        held.check()
        self.world.hub.switch()
        with self.world.ledger.transaction() as connection:
            held.fence(connection)
            self.world.decided.append(held.token)


def test_of_processes_that_pause_and_die_only_the_newest_decides() -> None:
    events: Counter[str] = Counter()
    for seed in range(10):
        world = Simulation(seed)
        world.run()
        assert world.decided == sorted(world.decided), f"seed {seed}"
        events.update(world.events)
    assert events["expired"] >= 5, f"the simulation has lost its teeth: {events}"
    assert events["taken over"] >= 5, f"the simulation has lost its teeth: {events}"
