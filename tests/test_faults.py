"""Crash points are counted and recorded where a test asks for it, and are silent elsewhere."""

from pathlib import Path

import pytest

from ratchet.components.faults import point


def test_points_are_recorded_in_the_order_in_which_they_are_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_FAULT_LOG", str(tmp_path / "log"))
    for name in ("first", "second"):
        point(name)
    numbers, names = zip(*(line.split() for line in (tmp_path / "log").read_text().splitlines()), strict=True)
    assert names == ("first", "second")
    assert int(numbers[1]) == int(numbers[0]) + 1


def test_a_point_outside_tests_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATCHET_FAULT_LOG", raising=False)
    monkeypatch.delenv("RATCHET_KILL_AT", raising=False)
    monkeypatch.chdir(tmp_path)
    point("anywhere")
    assert list(tmp_path.iterdir()) == []
