"""A run stays open until it reaches its end."""

import itertools

import pytest

from ratchet.components.ledger import runs
from ratchet.components.ledger.ledger import Ledger


def test_a_run_stays_open_until_it_is_finished(ledger: Ledger) -> None:
    ledger.begin_run("identity", "m", "r1")
    assert ledger.open_run("identity") == "r1"
    ledger.finish_run("identity", {"status": "promoted"})
    assert ledger.open_run("identity") is None


def test_faults_every_run_keeps_its_row(ledger: Ledger) -> None:
    for run_id, status in (("r1", "promoted"), ("r2", "finished")):
        ledger.begin_run("identity", "m", run_id)
        ledger.finish_run("identity", {"status": status})
    ledger.begin_run("identity", "m", "r3")
    ledger.break_run("identity", "killed")
    assert {row["run_id"]: row["status"] for row in ledger.latest_runs()} == {
        "r1": "promoted", "r2": "finished", "r3": "killed",
    }  # fmt: skip
    assert ledger.open_run("identity") == "r3"


def test_a_run_that_begins_again_is_the_same_run(ledger: Ledger) -> None:
    ledger.begin_run("identity", "m", "r1")
    ledger.break_run("identity", "killed")
    ledger.begin_run("identity", "m", "r1")
    (row,) = ledger.latest_runs()
    assert (row["run_id"], row["status"]) == ("r1", "running")


def test_of_one_identity_one_run_is_open(ledger: Ledger) -> None:
    ledger.begin_run("identity", "m", "deleted in MLflow")
    ledger.begin_run("identity", "m", "instead")
    ledger.begin_run("another", "m", "beside")
    assert {row["run_id"] for row in ledger.latest_runs()} == {"instead", "beside"}


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_a_run_that_broke_off_is_still_open(ledger: Ledger, status: str) -> None:
    ledger.begin_run("identity", "m", "r1")
    ledger.break_run("identity", status)
    assert ledger.open_run("identity") == "r1"
    assert ledger.latest_runs()[0]["status"] == status


@pytest.fixture
def clocks_run_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run begins on a machine whose clock is a day behind the one before."""
    days = itertools.count(28, -1)
    monkeypatch.setattr(runs, "now", lambda: f"2026-01-{next(days):02}")


@pytest.mark.usefixtures("clocks_run_backwards")
def test_the_roles_are_those_of_the_newest_run_of_the_model_whatever_clocks_say(ledger: Ledger) -> None:
    assert ledger.roles("m") == {}
    ledger.begin_run("i1", "m", "r1", {"promote": ["bob"]})
    ledger.begin_run("i2", "m", "r2", {"promote": ["ann"], "stop": []})
    ledger.begin_run("i3", "other", "r3", {"promote": ["eve"]})
    assert ledger.roles("m") == {"promote": ["ann"], "stop": []}
    ledger.begin_run("i4", "m", "r4", {})
    assert ledger.roles("m") == {}


@pytest.mark.usefixtures("clocks_run_backwards")
def test_runs_are_in_the_order_in_which_they_were_recorded_whatever_clocks_say(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.begin_run(f"i{number}", "m", f"r{number}")
    assert [row["run_id"] for row in ledger.latest_runs(2)] == ["r3", "r2"]
    assert [row["run_id"] for row in ledger.running_runs()] == ["r3", "r2", "r1"]
    ledger.begin_run("i1", "m", "r1")  # resumed
    assert [row["run_id"] for row in ledger.latest_runs()] == ["r1", "r3", "r2"]


@pytest.mark.usefixtures("clocks_run_backwards")
def test_the_first_run_that_made_a_stage_or_was_refused_by_it_is_the_first_recorded_whatever_clocks_say(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.begin_run(f"i{number}", "m", f"r{number}")
        stages = [{"name": "reward", "key": "k", "cached": False, "seconds": float(number)}]
        ledger.finish_run(f"i{number}", {"status": "reward_refused", "stages": stages})
    assert ledger.run_refused_by("m", "reward", "k") == "r1"
    assert ledger.makers() == {("reward", "k"): ("r1", 1.0)}


def test_the_first_run_that_a_reward_refused_is_found_by_the_rewards_stage(ledger: Ledger) -> None:
    for run_id, model, key in (("r1", "m", "other"), ("r2", "m", "k"), ("r3", "m", "k"), ("r4", "n", "k")):
        ledger.begin_run(run_id, model, run_id)
        stages = [{"name": "data", "key": "k"}, {"name": "reward", "key": key, "cached": False}]
        ledger.finish_run(run_id, {"status": "reward_refused", "stages": stages})
    assert ledger.run_refused_by("m", "reward", "k") == "r2"
    assert ledger.run_refused_by("n", "reward", "k") == "r4"
    assert ledger.run_refused_by("n", "reward", "other") is None
    assert ledger.run_refused_by("m", "data", "k") is None  # it was finished, and refused nothing


def test_a_resumed_run_keeps_the_time_of_its_first_start(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in ("monday", "wednesday", "friday"):
        monkeypatch.setattr(runs, "now", lambda day=day: day)
        ledger.begin_run("identity", "m", "r1")
        ledger.break_run("identity", "stopped")
    (row,) = ledger.latest_runs()
    assert (row["begun"], row["started"]) == ("monday", "friday")
    ledger.finish_run("identity", {"status": "refused"})
    ledger.begin_run("identity", "m", "r2")
    assert [row["begun"] for row in ledger.latest_runs() if row["run_id"] == "r2"] == [None]
