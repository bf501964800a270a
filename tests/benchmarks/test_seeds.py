"""Counts and distances over seeds, by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.seeds import check_rows, over_seeds, room, share


def test_room_is_the_distance_of_the_mean_in_deviations_on_the_good_side() -> None:
    # 0.8 and 0.9: mean 0.85, deviation 0.0707.
    assert room("pair_accuracy", [0.8, 0.9], 0.75) == pytest.approx(0.1 / 0.070711, rel=1e-4)
    assert room("format_perturbation", [0.8, 0.9], 0.75) == pytest.approx(-0.1 / 0.070711, rel=1e-4)
    assert room("agreement", [1.0, 1.0], 0.6) == math.inf
    assert room("gold_parsed", [0.8, 0.9], 0.75) == pytest.approx(0.1 / 0.070711, rel=1e-4)


def test_only_checks_with_an_interval_are_summarised() -> None:
    def report(value: float) -> dict[str, Any]:
        sampled = {"name": "agreement", "value": value, "low": value - 0.1, "threshold": 0.6}
        return {"checks": [sampled, {"name": "range", "value": 1.0, "low": None, "threshold": 0.0}]}

    (row,) = check_rows([report(0.7), report(0.9)])
    assert (row["check"], row["mean"], row["seeds"]) == ("agreement", pytest.approx(0.8), 2)
    assert row["sd"] == pytest.approx(0.141421, rel=1e-4)


def test_a_count_has_wilsons_interval() -> None:
    # 19 of 20: (0.95 + z^2/40 -+ z sqrt(0.95 * 0.05 / 20 + z^2 / 1600)) / (1 + z^2/20), z = 1.96.
    found = share(19, 20)
    assert (found["low"], found["high"]) == (pytest.approx(0.7639, abs=1e-4), pytest.approx(0.9911, abs=1e-4))


def test_a_finished_seed_is_not_run_again(tmp_path: Path) -> None:
    asked = []

    def measure(seed: int) -> dict[str, Any]:
        asked.append(seed)
        return {"status": "promoted"}

    assert [row["seed"] for row in over_seeds(2, 1, tmp_path, "whole", measure)] == [1, 2]
    assert [row["seed"] for row in over_seeds(3, 1, tmp_path, "whole", measure)] == [1, 2, 3]
    assert asked == [1, 2, 3]
