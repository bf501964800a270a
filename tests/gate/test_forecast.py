"""What a gate could see, before anything is judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.errors import DataError
from ratchet.components.gate import forecast
from ratchet.components.gate.forecast import below_floor, forecast_power
from ratchet.components.gate.plan import plan_use
from ratchet.components.storage.files import write_json_lines
from tests.gate.staged import Project, ids, models

SOURCE = {"kind": "jsonl", "path": "rows.jsonl"}


def test_power_rests_on_an_assumption_until_something_was_evaluated(tmp_path: Path) -> None:
    project = Project(tmp_path)
    found = forecast_power(project.context, project.ledger, 0.05, 1000, lambda _: project.trained).as_json()
    assert "assumption" in found["source"]
    assert found["needed"] == 1101  # tests/statistics/test_power.py
    assert [row["effect"] for row in found["table"]] == [0.01, 0.02, 0.03, 0.05, 0.08, 0.1]
    project.judge("a", 150)
    assert (
        "dev rows" in forecast_power(project.context, project.ledger, 0.05, 1000, lambda _: project.trained).as_json()["source"]
    )


def test_a_start_below_the_floor_is_told_until_there_is_a_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path, floor=0.55)  # on dev the start has 50 of 100 right, the challenger 60
    assert below_floor(project.context, project.ledger) is None  # nothing was evaluated
    project.judge("a", 150)
    said = below_floor(project.context, project.ledger)
    assert said is not None
    assert "accuracy above 0.55; the policy that training starts from had 0.500 on dev" in said
    assert "must be above 0.050." in said
    monkeypatch.setattr(type(project.ledger), "champion", lambda *_: object())
    assert below_floor(project.context, project.ledger) is None


def test_power_needs_data_or_a_number(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with pytest.raises(DataError, match="--items"):
        forecast_power(project.context, project.ledger, 0.05, None, lambda _: project.trained)


def test_the_groups_of_the_fold_are_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty customers with ten rows each, and one row of nobody."""
    project = Project(tmp_path, folds=1, recipe={"data": {"group": "customer", "source": SOURCE}})
    rows = [{"id": f"{n:04}", "prompt": f"p {n}", "group": None if n == 200 else f"c{n // 10}"} for n in range(201)]
    write_json_lines(project.data.path / "data" / "sealed_0.jsonl", rows)
    monkeypatch.setattr(forecast, "prepare_data", lambda _: project.data)
    found = forecast_power(project.context, project.ledger, 0.3, None, lambda _: project.trained).as_json()
    assert (found["items"], found["groups"]) == (201, 21)
    assert found["power"] < 0.7  # 201 observations would give 1.0


def test_the_groups_of_the_fold_count_and_not_those_of_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On dev each item is of another customer; the fold has three. The forecast and the plan say the same."""
    project = Project(tmp_path, folds=1, recipe={"data": {"group": "customer", "source": SOURCE}})
    rows = [{"id": item, "prompt": f"p {item}", "group": f"c{n // 100}"} for n, item in enumerate(ids(0, 300))]
    write_json_lines(project.data.path / "data" / "sealed_0.jsonl", rows)
    of_dev = [replace(one, cluster=f"d{one.id}") for one in project.dev.results()["challenger_sampled"]]
    rows_of = {**project.dev.results(), "challenger_sampled": of_dev}
    project.dev.__dict__["results"] = lambda: rows_of
    monkeypatch.setattr(forecast, "prepare_data", lambda _: project.data)
    monkeypatch.setattr(forecast, "newest_evaluation", lambda *_: project.dev)
    monkeypatch.setattr(forecast, "EFFECTS", ())
    planned = plan_use(project.challenge(models("challenger")))
    assert planned.power is not None
    assert planned.power.groups == 3
    found = forecast_power(project.context, project.ledger, None, None, lambda _: project.trained)
    assert (found.asked.groups, found.asked.detectable) == (3, planned.power.detectable)
    assert found.method == planned.base["method"] == "accuracy: Gaffke's test of a bounded mean"
