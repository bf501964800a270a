"""Schedulers that race, crash, pause and lose replies, under a seeded simulator that owns their interleaving and their clock.

Every call of the ledger and of the registry is an instant at which another process may run, this one may die, sleep past
its lease, or fail to hear that its call was carried out; the clocks of machines differ by days. Whatever happens: promotions
form one chain, each was won against the champion before it, and the alias ends where the ledger says.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import greenlet
import pytest

from ratchet.components.errors import PendingAliasError, RegistryError, StaleChampionError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import promote, reconcile
from tests.ledger.fakes import Died, FakeClock, Registry, promoting

SCHEDULERS, RESTARTS = 3, 5
DAY = 86400.0


@dataclass
class Simulation:
    """One seed's world."""

    draws: random.Random
    clock: FakeClock = field(default_factory=FakeClock)
    registry: Registry = field(default_factory=Registry)
    alarms: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ledger = Ledger("sqlite:///:memory:", self)
        self.hub = greenlet.getcurrent()

    def time(self) -> float:
        return self.clock.time()

    def sleep(self, seconds: float, /) -> None:
        self.clock.sleep(30 * seconds)  # the others have done that much meanwhile
        self.hub.switch()

    def fault(self) -> None:
        """An instant: others run, and once in a while something goes wrong."""
        self.hub.switch()
        luck = self.draws.random()
        if luck < 0.02:
            self.events["died"] += 1
            raise Died
        if luck < 0.04:
            self.events["paused"] += 1
            self.clock.sleep(1000)
            for _ in range(self.draws.randrange(40)):
                self.hub.switch()

    def part(self, what: Any, skew: float = 0.0) -> Any:
        """A ledger or registry as one process sees it, by a clock of its own."""
        return _Part(self, what, skew)


class _Clock:
    def __init__(self, simulation: Simulation, skew: float) -> None:
        self.simulation, self.skew, self.sleep = simulation, skew, simulation.sleep

    def time(self) -> float:
        return self.simulation.time() + self.skew


class _Part:
    def __init__(self, simulation: Simulation, what: Any, skew: float) -> None:
        self._simulation, self._what, self.clock = simulation, what, _Clock(simulation, skew)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._what, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._simulation.fault()
            answer = value(*arguments, **named)
            if name == "set_alias" and self._simulation.draws.random() < 0.1:
                self._simulation.events["lost reply"] += 1
                raise ConnectionError
            return answer

        return call


def scheduler(world: Simulation, quality: int) -> None:
    """A process that trains one challenger, and judges it against whoever is champion until it has won or lost."""
    skew = (quality % 3 - 1) * DAY
    ledger, registry, version = world.part(world.ledger, skew), world.part(world.registry), str(quality)
    while True:
        champion = reconcile(ledger, registry, "m")
        if champion is not None and int(champion.version) >= quality:
            return
        expected = champion.sequence if champion else 0
        verdict = promoting(version, champion.version if champion else "none")
        try:
            promote(ledger, registry, "m", verdict, expected=expected, version=version, run_id="r")
            return
        except StaleChampionError:
            world.events["judged again"] += 1


def restarted(world: Simulation, work: Callable[[], None]) -> None:
    """Start a process again when it ends in an error, as Prefect's schedule does."""
    for _ in range(RESTARTS):
        try:
            work()
            return
        except (Died, ConnectionError, PendingAliasError):
            world.clock.sleep(1)
        except RegistryError as error:
            if "took over" in str(error):
                world.events["zombie refused"] += 1
            elif "have been promoting" not in str(error):
                world.alarms.append(str(error))


def run(seed: int) -> Simulation:
    world = Simulation(random.Random(seed))  # noqa: S311 - a simulation
    qualities = world.draws.sample(range(1, 100), SCHEDULERS)
    processes = [greenlet.greenlet(lambda q=q: restarted(world, lambda: scheduler(world, q))) for q in qualities]
    while alive := [process for process in processes if not process.dead]:
        world.draws.choice(alive).switch()
    world.clock.sleep(10 * DAY)
    reconcile(world.ledger, world.registry, "m")
    return world


def check(seed: int) -> Counter[str]:
    """Run one seed, and hold it to the invariants; returns what happened in it."""
    world = run(seed)
    history = world.ledger.history("m")
    versions = [int(row.version) for row in history]
    assert versions == sorted(set(versions)), f"seed {seed}: a worse version, or one twice: {versions}"
    for row, before in zip(history, [None, *history], strict=False):
        assert row.previous == (before.version if before else None), f"seed {seed}"
        assert row.verdict == promoting(row.version, before.version if before else "none").digest, f"seed {seed}"
    assert world.registry.alias("m", "champion") == (history[-1].version if history else None), f"seed {seed}"
    assert world.alarms == [], f"seed {seed}: nobody moved anything by hand"
    return world.events


@pytest.mark.parametrize(
    "seeds", [range(50), pytest.param(range(50, 1000), marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_races_end_in_one_chain_and_the_alias_at_its_end(seeds: range) -> None:
    events: Counter[str] = Counter()
    for seed in seeds:
        events.update(check(seed))
    for name in ("died", "paused", "lost reply", "judged again", "zombie refused"):
        assert events[name] >= 2, f"the simulation has lost its teeth: {events}"


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_gives_the_same_race_again(seed: int) -> None:
    first, second = run(seed), run(seed)
    assert [row.version for row in first.ledger.history("m")] == [row.version for row in second.ledger.history("m")]
    assert first.events == second.events
