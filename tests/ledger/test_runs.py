"""A run stays open until it reaches its end."""

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


def test_the_roles_are_those_of_the_newest_run_of_the_model(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(["2026-01-03", "2026-01-01", "2026-01-04", "2026-01-05"])
    monkeypatch.setattr(runs, "now", lambda: next(times))
    assert ledger.roles("m") == {}
    ledger.begin_run("i1", "m", "r1", {"promote": ["ann"], "stop": []})
    ledger.begin_run("i2", "m", "r2", {"promote": ["bob"]})  # which began before it
    ledger.begin_run("i3", "other", "r3", {"promote": ["eve"]})
    assert ledger.roles("m") == {"promote": ["ann"], "stop": []}
    ledger.begin_run("i4", "m", "r4", {})
    assert ledger.roles("m") == {}


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
