"""One process promotes at a time; a lease that runs out passes on, with a larger token."""

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.leases import PATIENCE, SECONDS, promotion_lease
from ratchet.components.ledger.ledger import Ledger
from tests.ledger.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger("sqlite:///:memory:", clock)


def test_tokens_only_grow(ledger: Ledger) -> None:
    tokens = []
    for _ in range(3):
        with promotion_lease(ledger, "m") as token:
            tokens.append(token)
    assert tokens == [1, 2, 3]


def test_a_second_process_waits_until_the_lease_runs_out(ledger: Ledger, clock: FakeClock) -> None:
    begun = clock.time()
    with promotion_lease(ledger, "m") as first, promotion_lease(ledger, "m") as second:
        assert (first, second) == (1, 2)
        assert SECONDS <= clock.time() - begun <= SECONDS + 2


def test_the_first_to_end_does_not_free_the_seconds_lease(ledger: Ledger, clock: FakeClock) -> None:
    with promotion_lease(ledger, "m"):
        second = promotion_lease(ledger, "m")
        second.__enter__()
    begun = clock.time()
    with promotion_lease(ledger, "m"):
        assert clock.time() - begun >= SECONDS - 2


def test_other_models_do_not_wait(ledger: Ledger, clock: FakeClock) -> None:
    begun = clock.time()
    with promotion_lease(ledger, "m"), promotion_lease(ledger, "n"):
        assert clock.time() == begun


def test_waiting_ends(ledger: Ledger, clock: FakeClock) -> None:
    with promotion_lease(ledger, "m"):
        clock.now -= 10 * PATIENCE  # a clock set back makes the lease long
        with pytest.raises(RegistryError, match="hangs"), promotion_lease(ledger, "m"):
            pass
