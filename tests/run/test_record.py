"""A run as MLflow and the ledger see it: opened once, resumed after a kill, closed whatever happens."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from ratchet.components.data.pointers import write_pointer
from ratchet.components.errors import ClaimLostError, DataError, PausedError
from ratchet.components.ledger.claims import acquired
from ratchet.components.ledger.stops import ask_to_stop
from ratchet.components.records import Outcome
from ratchet.components.run import record
from ratchet.components.run.columns import stage_parameters
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import NAME, Ending, claimed_run, identity_of
from ratchet.components.stages.data import data_configuration
from ratchet.components.stages.results import RewardStage, WarmupStage
from ratchet.components.stages.stage import Stage
from ratchet.components.storage.files import write_text
from tests.run.runs import FakeDisplay, lines_of, make_stages, new_project, new_run, stage, tracker_of, verdict

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


def test_the_identity_depends_on_every_value_of_the_recipe(tmp_path: Path) -> None:
    first = identity_of(new_project(tmp_path))
    assert identity_of(new_project(tmp_path, "train.lr=2e-3")) == first  # the value that the recipe has already
    assert identity_of(new_project(tmp_path, "train.lr=1e-3")) != first


def test_neither_limits_nor_retention_make_another_run(tmp_path: Path) -> None:
    limited = new_project(tmp_path, "limits.hours=6", "limits.samples=500000", "retention.keep_days=1")
    assert identity_of(limited) == identity_of(new_project(tmp_path))


OWN = ("data.source=rows.jsonl", "graders={mine: {file: 'mine.py:grade', files: [towns.csv]}}", "gold={grader: mine}")
FILES = {
    "rows.jsonl": '{"question": "1 + 1?", "answer": "2"}\n',
    "mine.py": "def grade(sample, item):\n    return 1.0\n",
    "towns.csv": "Oslo\n",
    "unread.py": "x = 1\n",
}


@pytest.mark.parametrize(
    ("name", "another"), [("rows.jsonl", True), ("mine.py", True), ("towns.csv", True), ("unread.py", False)]
)
def test_an_edit_of_the_data_or_of_a_grader_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, another: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    before = identity_of(new_project(tmp_path, *OWN))
    assert identity_of(new_project(tmp_path, *OWN)) == before
    (tmp_path / name).write_text(FILES[name].replace("1", "3").replace("o", "p"), encoding="utf-8")
    assert (identity_of(new_project(tmp_path, *OWN)) != before) is another


def test_of_a_version_with_added_rows_the_version_counts_and_no_file_need_be_there(tmp_path: Path) -> None:
    project = new_project(tmp_path, "data.source=absent.jsonl")
    with pytest.raises(DataError, match="absent"):
        identity_of(project)
    found = []
    for version in ("a" * 32, "b" * 32):
        pointer = {"outs": [{"md5": f"{version}.dir", "path": "data"}]}
        write_text(tmp_path / "data.dvc", yaml.safe_dump(pointer))
        write_pointer(tmp_path / "data.dvc", recipe_data=data_configuration(project.recipe.data), added=1)
        found.append(identity_of(project))
    assert found[0] != found[1]


def test_mlflow_is_opened_once_and_noted_in_the_ledger(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert run.begun is None
    assert run.open() == run.open() == "run0"
    assert run.begun == "run0" == run.ledger.open_run(run.identity)
    assert tracker_of(run).tagged["run0"]["recipe_digest"] == run.recipe.digest
    assert tracker_of(run).parameters["train.algorithm"] == "grpo"


def test_the_run_that_a_killed_process_left_is_resumed(tmp_path: Path) -> None:
    killed = new_run(tmp_path)
    killed.ledger.begin_run(killed.identity, "micro", "left")
    run = new_run(tmp_path)
    tracker_of(run).left.add("left")
    assert run.begun == "left"
    assert run.open() == "left"


def test_a_stage_whose_child_run_raises_is_marked_failed(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with run.child("train"):
        pass
    with pytest.raises(ZeroDivisionError), run.child("reward"):
        raise ZeroDivisionError
    assert tracker_of(run).status == {}  # nothing of it waits for MLflow
    run.open()
    assert tracker_of(run).status == {"run0/train": "FINISHED", "run0/reward": "FAILED"}


def test_a_finished_stage_is_kept_and_shown(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    made = stage(run, WarmupStage, {"model/x": "w"}, cached=True)
    run.add(made)
    assert run.made.stages == [made]
    assert lines_of(run) == ["warmup cached"]


def test_every_stage_has_a_child_run_and_one_from_the_store_leads_to_the_run_that_made_it(tmp_path: Path) -> None:
    first, run = new_run(tmp_path), new_run(tmp_path, "train.lr=1e-3")
    first.begin()
    first.add(stage(first, WarmupStage, {"model/x": "w"}))
    first.close(RunResult(Status.FINISHED, stages=first.stages_as_json(), run_id="a"))
    run.add(stage(run, WarmupStage, {"model/x": "w"}, cached=True))
    assert not run.figures.journal.file.exists()  # until there is something to record
    run.begin()
    run.add(stage(run, RewardStage, {"report.json": {}}, cached=True, key="nobody knows"))
    run.tell(Stage.GATE, None, False, 2.0)
    run.open()
    tracker, (made,) = tracker_of(run), (row["run_id"] for row in run.ledger.latest_runs() if row["finished"])
    assert tracker.tagged["run0/warmup"] == {"cached": "true", "stage_key": "c0ffee00", "made_by": made}
    assert tracker.tagged["run0/reward"] == {"cached": "true", "stage_key": "nobody knows"}
    assert tracker.tagged["run0/gate"] == {"cached": "false"}
    assert tracker.described["run0/warmup"][1] == {"seconds": 0.5}
    assert tracker.described["run0/reward"] == (stage_parameters(run.recipe, "reward"), {})
    assert tracker.described["run0/gate"][1] == {"seconds": 2.0}
    assert tracker.status == dict.fromkeys(("run0/warmup", "run0/reward", "run0/gate"), "FINISHED")


def test_faults_a_stage_that_a_killed_run_made_itself_is_not_called_cached_when_it_is_resumed(tmp_path: Path) -> None:
    killed = new_run(tmp_path)
    with killed.child("warmup"):
        pass
    killed.add(stage(killed, WarmupStage, {"model/x": "w"}))
    killed.open()
    resumed = new_run(tmp_path)
    resumed.project.__dict__["tracker"] = tracker_of(killed)
    resumed.add(stage(resumed, WarmupStage, {"model/x": "w"}, cached=True))
    resumed.open()
    assert tracker_of(killed).tagged["run0/warmup"]["cached"] == "false"


def test_figures_and_samples_go_to_the_child_run_once_there_is_one(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.observer.metrics("train", [(1, {"reward": 0.5})])
    run.observer.samples("train", 1, [{"prompt": "p"}])
    assert not run.figures.journal.file.exists()
    with run.child("train"):
        run.observer.metrics("train", [(1, {"reward": 0.5})])
        run.observer.samples("train", 8, [{"prompt": "p\x1b[2J", "reward": 1.0}])
    run.open()
    assert tracker_of(run).logged == {"run0/train": {"reward": 0.5}}
    assert tracker_of(run).tables == {"samples/step_000008.json": [{"prompt": "p\\u001b[2J", "reward": 1.0}]}


def test_a_run_that_was_taken_over_ends_between_two_steps(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.observer.progress("train", 1, 2, "note")
    acquired(run.ledger, run.identity, "here", lambda *_: None)
    with pytest.raises(ClaimLostError):
        run.confirm()
    with pytest.raises(ClaimLostError):
        run.observer.progress("train", 2, 2, "note")
    assert lines_of(run) == ["train 1/2 note"]


def test_whoever_may_have_ended_the_run_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []
    run = new_run(tmp_path, confirm=lambda claim: asked.append(claim.run))
    run.confirm()
    assert asked == [run.identity]


def test_the_result_says_what_was_made_and_how_it_ended(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    make_stages(run, stop={"reason": "kl", "signal": "eval_kl", "value": 2.0, "limit": 1.0, "step": 8})
    run.made.version = "3"
    run.ending = Ending(Status.REFUSED, verdict(), previous="2", reasons=["not better"])
    found = run.result("report.html")
    assert (found.status, found.verdict, found.version, found.previous) == (Status.REFUSED, Outcome.REJECT, "3", "2")
    assert (found.dataset, found.report, found.run_id) == ("0" * 32 + ".dir", "report.html", None)
    assert [s["name"] for s in found.stages] == ["data", "gold", "warmup", "reward", "train", "evaluate"]
    assert found.gold == {"dev": 0.5, "mutation_score": 0.75}
    assert found.reasons[0].startswith("the sentinel stopped training at step 8: kl")
    assert found.reasons[1:] == ["not better"]


def test_a_closed_run_is_finished_in_mlflow_and_in_the_ledger(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.open()
    run.close(RunResult(Status.REFUSED, Outcome.REJECT, version="3", run_id="run0"))
    run.figures.send()
    assert tracker_of(run).status == {"run0": "FINISHED"}
    shown = {"status": "refused", "verdict": "REJECT", "version": "3", NAME: f"micro {TODAY} refused v3"}
    assert tracker_of(run).tagged["run0"].items() >= shown.items()
    (row,) = run.ledger.latest_runs()
    assert (row["status"], json.loads(row["result"])["verdict"]) == ("refused", "REJECT")


def test_a_run_that_mlflow_never_saw_leaves_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.close(RunResult(Status.FINISHED))
    run.fail("FAILED")
    assert run.ledger.latest_runs() == []


def test_faults_a_dry_run_leaves_nothing_and_a_killed_run_stays_open(tmp_path: Path) -> None:
    project = new_project(tmp_path)
    project.ledger.begin_run(identity_of(project), "micro", "left")
    before = project.ledger.latest_runs()
    with claimed_run(project, FakeDisplay(), recorded=False) as run:
        with run.child("train"):
            run.observer.metrics("train", [(1, {"reward": 0.5})])
        with pytest.raises(AssertionError):
            run.open()
        run.close(RunResult(Status.FINISHED))
    assert (tracker_of(run).opened, tracker_of(run).logged, tracker_of(run).status) == ([], {}, {})
    assert run.ledger.latest_runs() == before


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_does_not_end_well_can_be_resumed(tmp_path: Path, error: type[BaseException], status: str) -> None:
    project = new_project(tmp_path)

    def fails() -> None:
        with claimed_run(project, FakeDisplay()) as run:
            run.open()
            raise error

    with pytest.raises(error):
        fails()
    assert project.tracker.status == {"run0": status}  # type: ignore[attr-defined]
    assert project.ledger.open_run(identity_of(project)) == "run0"


def test_a_run_that_a_person_stops_stays_open_and_is_resumed_by_the_same_recipe(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    make_stages(run)
    run.check_pause()
    ask_to_stop(run.ledger, run.open(), "ann on host")
    run.check_pause()  # it has not looked yet
    run.confirm()
    with pytest.raises(PausedError, match="ann on host asked for it") as raised, run.child("train"):
        run.check_pause()
    result = run.pause(raised.value)
    run.figures.send()
    said = result.as_json()
    assert (said["status"], said["run_id"], result.status.exit_code) == ("stopped", "run0", 6)
    assert said["stopped"].startswith("ann on host asked for it with `ratchet stop`; the same command resumes it")
    assert tracker_of(run).status.items() >= {"run0/train": "KILLED", "run0": "KILLED"}.items()
    assert tracker_of(run).tagged["run0"].items() >= {"status": "stopped", NAME: f"micro {TODAY} stopped"}.items()
    (row,) = run.ledger.latest_runs()
    assert (row["status"], row["finished"], row["result"]) == ("stopped", None, None)
    again = new_run(tmp_path, "limits.samples=9")
    assert again.begun == "run0"
    again.check_pause()


def test_hours_are_those_of_one_invocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(record, "uptime", lambda: now[0])
    run = new_run(tmp_path, "limits.hours=0.5")
    now[0] += 1799
    assert run.context.pause() is None
    now[0] += 1
    assert run.context.pause() == "limits.hours: 0.5 h of this invocation are over; the same command resumes it"
    assert new_run(tmp_path, "limits.hours=0.5").pause_reason() is None


def test_a_run_that_was_taken_over_is_not_marked_under_the_others_hands(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.open()
    acquired(run.ledger, run.identity, "here", lambda *_: None)
    run.fail("FAILED")
    assert tracker_of(run).status == {}
    assert run.ledger.latest_runs()[0]["status"] == "running"


def test_what_a_run_hashed_goes_once_to_the_next_run_of_its_identity_and_place(tmp_path: Path) -> None:
    here, there = new_project(tmp_path / "here"), new_project(tmp_path / "there")
    with claimed_run(here, FakeDisplay()) as first:
        first.hand_over()
    seen = []
    for project in (there, here, here):
        with claimed_run(project, FakeDisplay()) as run:
            seen.append(run.context.seen is first.context.seen)
    assert seen == [False, True, False]
