"""What may be deleted: nothing used recently, nothing needed, and no champion."""

import json
import math
from typing import Any

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.project.retention import (
    DAY_SECONDS,
    Item,
    deletable,
    finished_runs,
    kept_champions,
    newest_runs,
    open_since,
    policy_of,
    refused_versions,
    seconds,
)
from ratchet.components.recipe import Retention

NOW = seconds("2026-11-30T00:00:00+00:00")


def aged(name: str, days: float) -> Item:
    return Item("stage", name, NOW - days * DAY_SECONDS)


def row(run_id: str, day: int, status: str = "refused", model: str = "m") -> dict[str, Any]:
    result = {"stages": [{"name": "train", "key": run_id}], "dataset": f"d{run_id}"}
    done = status not in ("running", "failed", "killed")
    started = f"2026-11-{day:02d}T00:00:00+00:00"
    return {
        "model": model,
        "run_id": run_id,
        "status": status,
        "started": started,
        "result": json.dumps(result) if done else None,
    }


def promotion(sequence: int, version: str) -> Promotion:
    return Promotion(sequence, version, None, "w", "gate", "v", None, f"r{version}", "2026-11-01T00:00:00+00:00")


def test_only_what_is_old_and_not_needed_goes() -> None:
    items = [aged("old", 15), aged("new", 13), aged("needed", 99)]
    assert [item.name for item in deletable(items, ["needed"], NOW, 14, NOW)] == ["old"]


def test_what_was_used_since_an_open_run_began_stays_at_any_age() -> None:
    since = open_since([row("a", 5, "killed"), row("b", 20, "running")], NOW)
    assert [item.name for item in deletable([aged("before", 26), aged("since", 24)], [], since, 0, NOW)] == ["before"]


def test_what_a_run_used_before_it_was_resumed_stays() -> None:
    resumed = {**row("a", 20, "running"), "begun": "2026-10-05T00:00:00+00:00"}  # 56 days ago
    since = open_since([resumed], NOW)
    assert [item.name for item in deletable([aged("before", 57), aged("since", 55)], [], since, 0, NOW)] == ["before"]


def test_a_backup_takes_no_open_run_for_abandoned() -> None:
    old = {**row("a", 1, "killed"), "started": "2026-01-01T00:00:00+00:00"}
    assert open_since([old], NOW, math.inf) < seconds("2026-01-01T00:00:00+00:00")


def test_a_run_that_was_killed_long_ago_is_not_expected_back() -> None:
    old = {**row("a", 1, "killed"), "started": "2026-10-01T00:00:00+00:00"}
    assert open_since([old], NOW) == NOW
    assert open_since([row("a", 1)], NOW) == NOW  # it has ended


def test_the_newest_runs_are_counted_by_model() -> None:
    runs = finished_runs([row("c", 3), row("b", 2), row("x", 1, model="other"), row("open", 4, "running")])
    assert {run.run_id for run in newest_runs(runs, {"m": 1, "other": 2}.__getitem__)} == {"c", "x"}
    assert {name for run in runs for name in run.stages} == {("train", "c"), ("train", "b"), ("train", "x")}


def test_all_champions_stay_unless_the_policy_says_otherwise() -> None:
    history = [promotion(1, "1"), promotion(2, "4"), promotion(3, "6"), promotion(4, "1")]  # rolled back to 1
    assert kept_champions(history, None) == {"1", "4", "6"}
    assert kept_champions(history, 2) == {"1", "6"}


def test_of_refused_versions_the_newest_stay() -> None:
    verdicts = {"2": "REJECT", "10": "UNDERPOWERED", "3": "INVALID", "4": "PROMOTE", "5": "pending"}
    tags = {number: {"verdict": verdict} for number, verdict in verdicts.items()}
    assert refused_versions(tags, 1) == ["2", "3", "4", "5"]
    assert refused_versions({**tags, "12": {}}, 0) == ["2", "3", "4", "5", "10"]


def test_the_policy_is_said_in_words() -> None:
    assert policy_of(Retention()) == "kept: 14 days, 10 runs, all champions, 10 refused versions"


def test_a_time_that_is_none_stops_everything() -> None:
    with pytest.raises(RegistryError, match="backup"):
        seconds("yesterday")
