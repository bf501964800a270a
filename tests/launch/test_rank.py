"""One rank's process, without a launcher."""

import os
import subprocess
import sys
from pathlib import Path

from ratchet.components.launch.job import Job, Request
from ratchet.components.recipe import Launch
from tests.launch.runs import wait_until

ENTRY = "tests.launch.entry"


def begun(place: Path, does: str, hours: float | None = None) -> Job:
    job = Job(place / "job")
    job.begin(Request(ENTRY, "key", Launch(kind="ray", workers=2), str(Path.cwd()), "cpu", 3, hours, {"does": does}))
    return job


def rank(job: Job) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", ENTRY, str(job.folder)], env={**os.environ, "RANK": "0", "WORLD_SIZE": "1"})


def test_a_rank_logs_beats_and_says_that_it_ended(tmp_path: Path) -> None:
    job = begun(tmp_path, "work")
    assert rank(job).wait(60) == 0
    (beat,) = job.beats()
    assert (beat.rank, beat.phase, beat.ended) == (0, "after update", True)
    assert "to the log" in job.log(0).read_text()
    assert job.failures() == []


def test_the_error_of_a_rank_is_recorded_with_its_phase_and_traceback(tmp_path: Path) -> None:
    job = begun(tmp_path, "raise")
    assert rank(job).wait(60) == 1
    (failure,) = job.failures()
    assert (failure.rank, failure.phase, failure.kind, failure.message) == (0, "update", "RewardError", "the judge is down")
    assert 'raise RewardError("the judge is down")' in failure.traceback
    assert failure.traceback in job.log(0).read_text()


def test_a_rank_that_ends_for_now_is_no_failure(tmp_path: Path) -> None:
    job = begun(tmp_path, "pause")
    assert rank(job).wait(60) == 0
    assert (job.paused, job.failures()) == ("limits.samples", [])


def test_a_phase_that_takes_too_long_ends_the_rank_with_the_stacks_of_its_threads(tmp_path: Path) -> None:
    job = begun(tmp_path, "hang", hours=0.5 / 3600)
    assert rank(job).wait(60) == 1
    (failure,) = job.failures()
    assert failure.kind == "StalledError"
    assert "entry.py" in job.stacks(0).read_text()
    assert str(job.stacks(0)) in failure.message


def test_a_rank_whose_launcher_is_killed_ends(tmp_path: Path) -> None:
    job = begun(tmp_path, "hang")
    code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    command = [sys.executable, "-c", code, sys.executable, "-m", ENTRY, str(job.folder)]
    launcher = subprocess.Popen(command, env={**os.environ, "RANK": "0", "WORLD_SIZE": "1"})
    wait_until(lambda: any(beat.phase == "update" for beat in job.beats()))
    left = job.beats()[0].process
    launcher.kill()
    launcher.wait()
    wait_until(lambda: left.found() is None, 10)


def test_a_rank_whose_job_was_replaced_ends(tmp_path: Path) -> None:
    job = begun(tmp_path, "hang")
    process = rank(job)
    wait_until(lambda: any(beat.phase == "update" for beat in job.beats()))
    begun(tmp_path, "work")
    assert process.wait(10) == 1
    assert job.beats() == []
