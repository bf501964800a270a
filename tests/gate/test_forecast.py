"""What a gate could see, before anything is judged."""

from pathlib import Path

import pytest

from ratchet.components.errors import DataError
from ratchet.components.gate.forecast import forecast_power
from tests.gate.staged import Project


def test_power_rests_on_an_assumption_until_something_was_evaluated(tmp_path: Path) -> None:
    project = Project(tmp_path)
    found = forecast_power(project.context, project.ledger, 0.05, 1000).as_json()
    assert "assumption" in found["source"]
    assert found["needed"] == 1101  # tests/statistics/test_power.py
    assert [row["effect"] for row in found["table"]] == [0.01, 0.02, 0.03, 0.05, 0.08, 0.1]
    project.judge("a", 150)
    assert "dev rows" in forecast_power(project.context, project.ledger, 0.05, 1000).as_json()["source"]


def test_power_needs_data_or_a_number(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with pytest.raises(DataError, match="--items"):
        forecast_power(project.context, project.ledger, 0.05, None)
