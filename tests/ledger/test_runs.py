"""A run stays open until it reaches its end."""

import pytest

from ratchet.components.ledger.ledger import Ledger


def test_a_run_stays_open_until_it_is_finished(ledger: Ledger) -> None:
    ledger.begin_run("identity", "m", "r1")
    assert ledger.open_run("identity") == "r1"
    ledger.finish_run("identity", {"status": "promoted"})
    assert ledger.open_run("identity") is None


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_a_run_that_broke_off_is_still_open(ledger: Ledger, status: str) -> None:
    ledger.begin_run("identity", "m", "r1")
    ledger.break_run("identity", status)
    assert ledger.open_run("identity") == "r1"
    assert ledger.latest_runs()[0]["status"] == status
