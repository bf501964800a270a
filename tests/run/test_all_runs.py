"""The page over all runs from a ledger: sentences, links to the reports that are here, the champion's times, nothing sealed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.records import Outcome
from ratchet.components.run import all_runs
from ratchet.components.run.all_runs import champion_text, entry_of, model_of, newest_report, reigns_of, write_all_runs
from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Ending, Run
from tests.run.runs import make_stages, new_run, verdict

RUN: dict[str, Any] = {
    "run_id": "r1",
    "model": "micro",
    "status": "running",
    "started": "2026-11-27T02:00:00+00:00",
    "result": None,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    return found


def promotion(
    version: str, by: str = "gate", run_id: str = "r1", at: str = "2026-11-27T02:30:00+00:00", **more: Any
) -> Promotion:
    return Promotion(1, version, None, "w", by, more.get("verdict"), None, run_id, at)


def test_a_run_that_ends_is_on_the_page(run: Run) -> None:
    run.begin()
    run.ending = Ending(Status.FINISHED)
    run.close(run.result())
    text = (run.project.home.reports / "index.html").read_text(encoding="utf-8")
    assert "The run ended after the stage that was asked for" in text
    assert "ended early on request" in text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("No space left on device")])
def test_a_page_that_cannot_be_written_does_not_end_the_run_otherwise(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    said: list[str] = []
    monkeypatch.setattr(all_runs, "write_all_runs", full)
    run.project.locks = replace(run.project.locks, say=said.append)
    run.begin()
    run.ending = Ending(Status.FINISHED)
    run.close(run.result())
    assert [row["status"] for row in run.ledger.latest_runs()] == ["finished"]
    assert "No space left" in said[0]


def test_before_the_first_run_there_is_a_page_and_no_report(run: Run) -> None:
    assert "There is no run yet." in write_all_runs(run.project.home, run.ledger).read_text(encoding="utf-8")
    assert newest_report(run.project.home, run.ledger) is None


@pytest.mark.parametrize("status", ["running", "killed", "failed"])
def test_a_run_without_an_end_says_how_to_continue(run: Run, status: str) -> None:
    entry = entry_of(run.project.home, {**RUN, "status": status})
    assert (entry.status, entry.tone) == (status, "neutral")
    assert entry.said == "In progress." if status == "running" else "the same command resumes it" in entry.said


def test_a_report_is_linked_if_it_is_here(run: Run) -> None:
    home = run.project.home
    assert entry_of(home, RUN).report is None
    home.reports.mkdir(parents=True)
    (home.reports / "r1.html").write_text("")
    assert entry_of(home, RUN).report == "r1.html"


def test_champions_begin_at_their_run_and_those_of_a_person_between_runs(run: Run) -> None:
    rows = [{**RUN, "run_id": f"r{hour}", "started": f"2026-11-27T0{hour}:00:00+00:00"} for hour in (1, 2, 3)]
    entries = [entry_of(run.project.home, row) for row in rows]
    history = [promotion("1", run_id="r2"), promotion("7", by="rollback", run_id="r1", at="2026-11-27T02:59:00+00:00")]
    assert [(reign.version, reign.since) for reign in reigns_of(run.ledger, "micro", history, rows, entries)] == [
        ("1", 1),
        ("7", 1.5),
    ]


def test_a_champions_score_on_dev_is_that_of_its_own_run_and_not_of_one_that_ended_unchanged(run: Run) -> None:
    results = ({"version": "1", "gold": {"dev": 0.9}}, {"version": "1", "gold": None})
    rows = [{**RUN, "run_id": f"r{n}", "status": "promoted", "result": json.dumps(one)} for n, one in enumerate(results)]
    entries = [entry_of(run.project.home, row) for row in rows]
    (reign,) = reigns_of(run.ledger, "micro", [promotion("1", run_id="r0")], rows, entries)
    assert reign.dev == 0.9


@pytest.mark.parametrize("method", ["accuracy: exact McNemar", "all of accuracy: exact McNemar; length: clustered t"])
def test_what_a_champion_reached_on_sealed_items_is_shown_once_the_fold_is_retired(run: Run, method: str) -> None:
    found = verdict(
        Outcome.PROMOTE,
        fold="sealed_0",
        fold_digest="f",
        method=method,
        figures={"challenger_accuracy": 0.9},
    )
    run.ledger.record_verdict("micro", found.as_json(), found.digest, "r1")
    history = [promotion("1", verdict=found.digest)]

    def sealed() -> list[float | None]:
        return [reign.sealed for reign in reigns_of(run.ledger, "micro", history, [], [])]

    assert sealed() == [None]
    run.ledger.retire("micro", "f", "promoted")
    assert sealed() == [0.9]


def test_an_altered_history_is_said_and_hides_no_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def altered(_: str) -> list[Promotion]:
        raise RegistryError("promotion 1 of micro was altered")

    monkeypatch.setattr(run.ledger, "history", altered)
    model = model_of(run.project.home, run.ledger, "micro", [RUN])
    assert (model.champion, len(model.entries)) == ("promotion 1 of micro was altered", 1)


def test_the_champion_is_told_with_who_promoted_it(run: Run) -> None:
    assert champion_text([]) == "There is no champion yet."
    assert champion_text([promotion("3", by="override")]).endswith("since 2026-11-27 02:30 UTC, promoted by a person.")
    assert model_of(run.project.home, run.ledger, "micro", []).entries == []
