"""``ratchet report``: where the pages are, and nothing written where there was no run."""

import json
from pathlib import Path

import pytest

from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Ending
from ratchet.flows.cli.report import report
from tests.run.runs import make_stages, new_run


def test_it_writes_the_page_over_all_runs_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = new_run(tmp_path)
    make_stages(run)
    run.begin()
    run.ending = Ending(Status.FINISHED)
    run.close(run.result())
    page = tmp_path / ".ratchet" / "reports" / "index.html"
    page.unlink()
    report()
    assert f"all runs  {page}\nnewest    no run has a report yet" in capsys.readouterr().out
    assert "ended early on request" in page.read_text(encoding="utf-8")


def test_before_the_first_run_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    report(json_output=True)
    assert json.loads(capsys.readouterr().out) == {"all_runs": None, "newest": None}
    assert list(tmp_path.iterdir()) == []
