"""What is said of a template's runs, by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import templates
from benchmarks.templates import measured, run_line, run_whole, summary


def run(status: str, before: float, after: float, value: float) -> dict[str, Any]:
    check = {"name": "silent_groups", "value": value, "low": value - 0.1, "threshold": 0.9}
    return {"status": status, "before": before, "after": after, "seconds": 60.0, "checks": [check]}


def test_a_summary_has_the_runs_promoted_and_the_room_of_each_check() -> None:
    found = summary("sql", [run("promoted", 0.5, 0.9, 0.2), run("refused", 0.7, 0.8, 0.4)])
    assert (found["promoted"]["good"], found["promoted"]["of"]) == (1, 2)
    assert (found["before"]["mean"], found["after"]["mean"]) == (pytest.approx(0.6), pytest.approx(0.85))
    assert found["before"]["sd"] == pytest.approx(0.1414, abs=1e-4)
    (row,) = found["checks"]
    assert row["room"] == pytest.approx(0.6 / 0.141421, rel=1e-4)  # from 0.3, the mean, to 0.9


def test_a_run_that_ended_before_its_evaluation_counts_without_accuracies() -> None:
    ended = {"status": "reward_refused", "seconds": 20.0, "checks": []}
    found = summary("sql", [ended, run("promoted", 0.5, 0.9, 0.2)])
    assert (found["promoted"]["good"], found["promoted"]["of"]) == (1, 2)
    assert (found["after"]["mean"], math.isnan(found["after"]["sd"])) == (0.9, True)
    assert run_line(found).startswith("| sql | 1 of 2 (")


def test_figures_are_read_from_the_stages_that_a_run_made(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "reward/r/report.json": {"checks": [{"name": "range"}]},
        "evaluate/e/summary.json": {
            f"{arm}_sampled": {"accuracy": {"value": v}} for arm, v in (("incumbent", 0.5), ("challenger", 0.8))
        },
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    stages = [{"name": "reward", "key": "r"}, {"name": "evaluate", "key": "e"}]
    assert measured(tmp_path, {"stages": stages}) == {"checks": [{"name": "range"}], "before": 0.5, "after": 0.8}
    assert measured(tmp_path, {"stages": stages[:1]}) == {"checks": [{"name": "range"}]}
    assert measured(tmp_path, {"error": "no stage"}) == {"checks": []}


def test_an_error_is_not_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "ended", lambda *_, **__: {"status": "error", "error": "no server answered"})
    with pytest.raises(RuntimeError, match="sql-1: no server answered"):
        run_whole("sql", 1, tmp_path)
