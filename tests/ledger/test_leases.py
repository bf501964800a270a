"""One process promotes at a time; a lease that runs out passes on, with a larger token, whatever the machines' clocks say."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.leases import PATIENCE, POLL, SECONDS, promotion_lease
from ratchet.components.ledger.ledger import Ledger
from tests.ledger.fakes import FakeClock

DAY = 86400.0


class World(FakeClock):
    """The time, and what the others do whenever somebody waits."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float, /) -> None:
        super().sleep(seconds)
        self.meanwhile()


class Machine:
    """A machine's own clock, which differs from the world's."""

    def __init__(self, world: World, skew: float) -> None:
        self.world, self.skew, self.sleep = world, skew, world.sleep

    def time(self) -> float:
        return self.world.time() + self.skew


@pytest.fixture
def clock() -> World:
    return World()


@pytest.fixture
def ledger(clock: World, tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", clock)


def elsewhere(ledger: Ledger, clock: World, skew: float) -> Ledger:
    """The ledger as a process on another machine has it."""
    return Ledger(ledger.url.render_as_string(hide_password=False), Machine(clock, skew))


def test_tokens_only_grow(ledger: Ledger) -> None:
    tokens = []
    for _ in range(3):
        with promotion_lease(ledger, "m") as token:
            tokens.append(token)
    assert tokens == [1, 2, 3]


@pytest.mark.parametrize("skew", [0.0, SECONDS + 30, -900.0, DAY, -DAY])
def test_a_second_process_waits_for_the_leases_length_whatever_its_clock_says(
    ledger: Ledger, clock: World, skew: float
) -> None:
    begun = clock.time()
    with promotion_lease(ledger, "m") as first, promotion_lease(elsewhere(ledger, clock, skew), "m") as second:
        assert (first, second) == (1, 2)
        assert SECONDS <= clock.time() - begun <= SECONDS + 2 * POLL


@pytest.mark.parametrize("skew", [SECONDS + 30, -900.0])
def test_a_lease_that_is_released_is_free_at_once_whatever_the_clock_says(ledger: Ledger, clock: World, skew: float) -> None:
    begun = clock.time()
    with promotion_lease(elsewhere(ledger, clock, skew), "m"):
        pass
    with promotion_lease(ledger, "m"):
        assert clock.time() == begun


def test_the_first_to_end_does_not_free_the_seconds_lease(ledger: Ledger, clock: World) -> None:
    with promotion_lease(ledger, "m"):
        second = promotion_lease(ledger, "m")
        second.__enter__()
    begun = clock.time()
    with promotion_lease(ledger, "m"):
        assert clock.time() - begun >= SECONDS


def test_a_ledger_that_cannot_be_reached_at_the_end_does_not_hide_the_blocks_own_error(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> NoReturn:
        raise RegistryError("the ledger is away")

    def promote() -> None:
        with promotion_lease(ledger, "m"):
            monkeypatch.setattr(ledger, "transaction", away)
            raise KeyError

    with pytest.raises(KeyError):
        promote()


def test_other_models_do_not_wait(ledger: Ledger, clock: World) -> None:
    begun = clock.time()
    with promotion_lease(ledger, "m"), promotion_lease(ledger, "n"):
        assert clock.time() == begun


def test_waiting_for_processes_that_promote_in_turn_ends_and_names_one(ledger: Ledger, clock: World) -> None:
    def promotes() -> None:
        with ledger.transaction() as connection:
            connection.exec_driver_sql("UPDATE leases SET token = token + 1, holder = 'process 7 on other'")

    begun = clock.time()
    with promotion_lease(ledger, "m"):
        clock.meanwhile = promotes
        with pytest.raises(RegistryError, match=r"process 7 on other.*hangs"), promotion_lease(ledger, "m"):
            pass
    assert PATIENCE <= clock.time() - begun <= PATIENCE + 2 * POLL
