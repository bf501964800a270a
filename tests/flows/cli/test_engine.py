"""``ratchet engine check``: figures on stderr or as JSON, and the exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ratchet.components.inspection import engine_check
from ratchet.components.policy.engines.vllm.contract import Check
from ratchet.flows.cli import app
from ratchet.flows.cli.views import engine as view
from ratchet.flows.cli.views import reward
from tests.places import MICRO

GOOD, BAD = Check(1, "version", True, "vLLM 0.31.0"), Check(9, "time limits", False, "a call [that] hung\x1b[2J")


def check(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> Any:
    asked: list[Any] = []
    monkeypatch.setattr(engine_check, "check_server", lambda project, url, observer: asked.append(url) or list(checks))
    arguments = ["engine", "check", "--url", "http://host:1", "--recipe", str(MICRO), "--json"]
    found = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert asked == ["http://host:1"]
    return found


def test_a_sound_server_is_exit_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = check(monkeypatch, GOOD)
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {"ok": True, "checks": [GOOD._asdict()]}


def test_one_point_that_is_not_met_is_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = check(monkeypatch, GOOD, BAD)
    assert found.exit_code == 1
    assert [one["ok"] for one in json.loads(found.stdout)["checks"]] == [True, False]


def test_each_check_is_a_line_with_its_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(reward, "console", recorded)
    view.show_checks([GOOD, BAD])
    first, second = recorded.export_text().splitlines()
    assert [word in first for word in ("1", "ok", "version", "vLLM 0.31.0")] == [True] * 4
    assert "failed" in second
    assert "a call [that] hung" in second
    assert "\x1b" not in second
