"""A project at a glance, from a ledger made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.components.errors import DataError, RegistryError
from ratchet.components.gate.folds import FoldState
from ratchet.components.inspection.overview import UNPREPARED, Overview, Running, Sealed, Slot, overview, pace
from ratchet.components.ledger import slots
from ratchet.components.ledger.claims import this_process
from ratchet.components.recipe.sources import JsonLines
from ratchet.components.run.failures import note_failure
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.progress import Progress
from ratchet.components.run.record import Ending, Run
from ratchet.flows.cli.views.status import lines_of
from tests.run.runs import make_stages, new_run

EMPTY = Overview([], {}, [], None, 3 * 2**30)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    return found


def test_a_run_in_progress_has_its_stage_and_the_time_left(run: Run) -> None:
    run.open()
    run.observer.progress("train", 12, 24, "reward 0.8")
    (one,) = overview(run.project.home, run.ledger, None).running
    assert one.progress is not None
    assert (one.model, one.progress.stage, one.progress.done) == (run.recipe.name, "train", 12)
    later = replace(one, progress=replace(one.progress, since=100.0, at=160.0, first=0, resumed=None))
    said = "\n".join(lines_of(replace(EMPTY, running=[later])))
    assert "stage 5 of 7: RL training, 50% after 1 min 00 s, about 1 min 00 s left  (reward 0.8)" in said


def test_a_run_that_waits_for_a_person_says_for_what_and_has_no_share(run: Run) -> None:
    run.open()
    run.observer.progress("gate", 2, 2, "done")
    run.observer.file.note("approval", 0, 1, "waits for approval until 2026-11-28 14:20 UTC: `ratchet approve run0`")
    running = "\n".join(lines_of(overview(run.project.home, run.ledger, None))).split("\n")[1:3]
    assert running[1] == "    waits for approval until 2026-11-28 14:20 UTC: `ratchet approve run0`"


def test_a_finished_run_is_told_in_a_sentence(run: Run) -> None:
    run.open()
    run.ending = Ending(Status.REFUSED)
    run.close(RunResult(Status.REFUSED, version="4", previous="3", gold={"dev": 0.5}))
    found = overview(run.project.home, run.ledger, None)
    assert not found.running
    assert [row["status"] for row in found.as_json()["runs"]] == ["refused"]
    assert (
        "    Version 4 did not pass every rule of the gate.  (gold on the development split, sampled, at the comparison 0.500)"
        in lines_of(found)
    )
    assert f"All runs: {run.project.home.reports / 'index.html'}" in lines_of(found)


def test_a_report_is_where_the_project_is_now(run: Run, tmp_path: Path) -> None:
    run_id = run.open()
    before, home = run.project.home, replace(run.project.home, state=tmp_path / "moved")
    run.close(RunResult(Status.FINISHED, report=str(before.reports / f"{run_id}.html")))
    assert overview(home, run.ledger, None).runs[0]["report"] is None
    home.reports.mkdir(parents=True)
    (home.reports / f"{run_id}.html").write_text("a report")
    assert overview(home, run.ledger, None).runs[0]["report"] == str(home.reports / f"{run_id}.html")


def test_a_run_of_another_machine_has_no_progress_here() -> None:
    one = Running("m", "r" * 32, "process 7 on far", "2026-11-26T02:31:00+00:00", None)
    said = "\n".join(lines_of(replace(EMPTY, running=[one])))
    assert "process 7 on far, since 2026-11-26 02:31 UTC; its progress is known on its own machine" in said
    here = replace(one, holder=this_process())
    assert "; it has just begun" in "\n".join(lines_of(replace(EMPTY, running=[here])))
    assert Progress("champion", 0, 0, "", 0.0, 0.0).number is None


def test_a_run_that_was_stopped_in_a_slot_is_resumed_with_it(run: Run) -> None:
    run.open()
    taken = slots.take(run.ledger, slots.Slot("micro", "2026-11-28T02:00:00+00:00", "d" * 64), run.identity, None)
    run.fail("KILLED")
    slots.leave(run.ledger, taken, slots.KILLED)
    found = overview(run.project.home, run.ledger, None)
    (row,) = found.as_json()["runs"]
    assert (row["status"], row["slot"]) == ("stopped", "2026-11-28T02:00:00+00:00")
    said = "; `ratchet schedule` resumes it, or the same command with --slot 2026-11-28T02:00:00+00:00"
    assert [line.endswith(said) for line in lines_of(found) if "stopped" in line] == [True]


def test_a_run_that_was_stopped_outside_of_a_slot_is_resumed_by_its_command(run: Run) -> None:
    run.open()
    run.fail("KILLED")
    found = overview(run.project.home, run.ledger, None)
    assert [line.endswith("; the same command resumes it") for line in lines_of(found) if "stopped" in line] == [True]


def test_the_next_slots_and_whether_anything_serves_them(run: Run) -> None:
    coming = [Slot("a", "2026-11-28T02:00:00+00:00", "cron 0 2 * * * (UTC)", True), Slot("b", None, "rrule X (UTC)", False)]
    found = overview(run.project.home, run.ledger, None, coming)
    assert found.as_json()["slots"][0] == {"model": "a", "at": coming[0].at, "rule": coming[0].rule, "served": True}
    said = lines_of(found)
    assert said[said.index("Next") + 1 :][:2] == [
        "  a  2026-11-28 02:00 UTC, by cron 0 2 * * * (UTC)",
        "  b  rrule X (UTC); it gives no date any more; no `ratchet schedule` serves it on this machine",
    ]


def test_what_is_left_of_the_sealed_test_and_for_how_long() -> None:
    folds = [FoldState("sealed_0", 100, 26, 0, "spent"), FoldState("sealed_1", 100, 2, 24, None)]
    sealed = Sealed(folds, pace=0.4)
    assert (sealed.left, sealed.days_left) == (24, 60.0)
    assert "24 uses left, in 1 of 2 folds; at the present pace they last 60 days" in "\n".join(
        lines_of(replace(EMPTY, sealed=sealed))
    )
    last = Sealed([FoldState("sealed_0", 100, 25, 1, None)], pace=4.0)
    assert "1 use left, in 1 of 1 folds; at the present pace, for a day at most" in "\n".join(
        lines_of(replace(EMPTY, sealed=last))
    )
    spent = "\n".join(lines_of(replace(EMPTY, sealed=Sealed(folds[:1], 1.0))))
    assert "no use is left" in spent


def test_the_pace_is_of_the_last_30_days_or_since_the_first_use() -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    ages = [100.0, 29.0, 4.0]  # days
    assert pace([(now - timedelta(days=age)).isoformat() for age in ages], now) == 2 / 30
    assert pace([(now - timedelta(days=age)).isoformat() for age in ages[2:]], now) == 1 / 4
    assert pace([], now) == 0.0


def test_a_long_run_is_shown_however_many_short_ones_began_since(run: Run) -> None:
    run.open()
    for number in range(12):
        run.ledger.begin_run(f"other{number}", "m", f"other{number}")
        run.ledger.finish_run(f"other{number}", {"status": "refused"})
    assert len(overview(run.project.home, run.ledger, None).running) == 1


def test_an_empty_project_says_what_to_do() -> None:
    assert "There is no champion yet. Start a run with `ratchet run`." in lines_of(EMPTY)
    running = replace(EMPTY, running=[Running("m", "r", "elsewhere", "2026-11-28T02:00:00+00:00", None)])
    assert "There is no champion yet." in lines_of(running)
    assert lines_of(EMPTY)[-1] == "Disk: 3.0 GiB free"


def test_what_a_lost_ledger_counted_is_unknown() -> None:
    assert "Sealed test: unknown, because the ledger that counts its uses was lost." in lines_of(
        replace(EMPTY, blocked={"m": "x"})
    )


def test_status_goes_on_without_mlflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise RegistryError("cannot use MLflow")

    monkeypatch.setattr("ratchet.components.inspection.overview.disagreements", damaged)
    assert overview(run.project.home, run.ledger, run.recipe).blocked is None


def test_a_sealed_test_that_is_not_prepared_is_said_to_be_unknown(run: Run) -> None:
    unknown = "Sealed test: unknown: the data are not prepared yet; `ratchet data prepare` does that."
    assert unknown in lines_of(replace(EMPTY, unprepared=UNPREPARED))
    assert unknown not in lines_of(EMPTY)
    home = replace(run.project.home, state=run.project.home.state / "fresh")
    assert overview(home, run.ledger, run.recipe).unprepared == UNPREPARED
    assert not overview(home, run.ledger, None).unprepared


def test_a_source_that_is_missing_hides_nothing_else(run: Run) -> None:
    run.open()
    source = JsonLines(kind="jsonl", path="gone.jsonl")
    recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"source": source})})
    found = overview(run.project.home, run.ledger, recipe)
    assert len(found.running) == 1
    assert "Sealed test: unknown: there is no file gone.jsonl. Check data.source in the recipe." in lines_of(found)


def test_the_last_error_of_a_model_is_shown(run: Run) -> None:
    note_failure(run.project.home, "m", DataError("there is no file rows.jsonl."))
    found = overview(run.project.home, run.ledger, None)
    assert [failure["said"] for failure in found.as_json()["failures"]] == ["there is no file rows.jsonl."]
    assert any(line.endswith("UTC  m  there is no file rows.jsonl.") for line in lines_of(found))
