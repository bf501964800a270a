"""What people see of the gold: why it was refused, and its mutation score beside what it measured."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Run
from ratchet.flows.cli.views import console
from tests.run.runs import CHECK, make_stages, new_run


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Console:
    recorded = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(console, "console", recorded)
    return recorded


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    return found


def test_the_summary_has_the_mutation_score_below_the_accuracy(run: Run, shown: Console) -> None:
    console.print_result(RunResult(Status.REFUSED), run)
    text = shown.export_text()
    assert text.index("greedy accuracy") < text.index("mutation score  ") < text.index("time")
    assert "0.750 of planted wrong answers were caught by the gold" in text


def test_the_summary_of_a_refused_gold_has_its_rows(run: Run, shown: Console) -> None:
    assert run.made.gold is not None
    failed = replace(CHECK, value=0.5, passed=False, detail="not of 00af (refunds [bold])")
    run.made.gold.__dict__["_report"] = {"checks": [asdict(failed)], "mutation_score": None}
    run.made.reward = run.made.candidate = run.made.dev = None
    console.print_result(RunResult(Status.REWARD_REFUSED), run)
    text = shown.export_text()
    assert "gold        refused: 0 of 1 checks passed" in text
    assert "gold_references 0.500 against 0.99 FAILED (not of 00af (refunds [bold])). Correct the rows." in text
    assert "mutation score" not in text


def test_the_ledger_keeps_it_for_status_and_the_json_of_a_run_has_it_not(run: Run) -> None:
    run.open()
    result = RunResult(Status.REFUSED, gold={"dev": 0.5, "mutation_score": 0.75})
    run.close(result)
    (row,) = run.ledger.latest_runs()
    assert json.loads(row["result"])["gold"] == {"dev": 0.5, "mutation_score": 0.75}
    assert json.loads(row["result"])["said"].endswith("did not pass every rule of the gate.")
    assert "gold" not in result.as_json()
