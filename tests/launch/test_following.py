"""A job that is started, found, followed and ended, with a fake in the place of torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.errors import PausedError, RankError, RewardError, StalledError
from ratchet.components.interruption import Interrupted
from ratchet.components.launch import following
from ratchet.components.launch.following import Follower, end_job, finish_job
from ratchet.components.launch.job import Beat, Job, Request
from ratchet.components.launch.processes import Process, end, here
from ratchet.components.recipe import Launch
from ratchet.components.storage.files import write_json

TWO = Launch(kind="torchrun", workers=2)


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LAUNCHERS", {"torchrun": "tests.launch.fake"})
    monkeypatch.setattr(following, "POLL", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # a launcher does not look into its working directory


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


def request(does: str, **order: str) -> Request:
    return Request("entry", does, TWO, str(Path.cwd()), "cpu", 1, None, {"does": does, **order})


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def started_elsewhere(job: Job, wanted: Request) -> "subprocess.Popen[bytes]":
    """A process that follows the job until it is killed."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from ratchet.components.launch import following\n"
        "from ratchet.components.launch.job import Request\n"
        "following.LAUNCHERS = {'torchrun': 'tests.launch.fake'}\n"
        "following.finish_job(Path(sys.argv[1]), Request.from_json(json.loads(sys.argv[2])), following.Follower())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(job.folder), json.dumps(wanted.as_json())])
    wait_until(lambda: bool(job.beats()))
    return process


def test_a_job_is_started_in_a_session_of_its_own_and_its_result_taken(job: Job) -> None:
    shown: list[object] = []
    result = finish_job(job.folder, request("finish"), Follower(lambda: shown.append(job.progressed)))
    assert int((result / "made.txt").read_text()) != os.getpid()
    assert shown[-1] == (1, 2, "half")  # also what came after the last look of a job in progress
    assert all(process.found() is None for process in job.processes())


def made_by(job: Job, wanted: Request) -> str:
    return (finish_job(job.folder, wanted, Follower()) / "made.txt").read_text()


def test_a_finished_job_is_not_started_again_but_one_for_something_else_is(job: Job) -> None:
    made = made_by(job, request("finish"))
    assert made_by(job, request("finish")) == made
    assert made_by(job, request("finish", gate="another")) == made  # that the work does not depend on
    assert made_by(job, replace(request("finish"), key="another")) != made


def test_a_damaged_result_is_made_again(job: Job) -> None:
    made = made_by(job, request("finish"))
    (job.result / "made.txt").write_text("damaged")
    assert made_by(job, request("finish")) not in {made, "damaged"}


def test_a_launcher_runs_no_file_of_the_project_and_gets_no_servers_credential(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataclasses.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "the token")
    monkeypatch.setenv("WANDB_API_KEY", "of a grader")
    result = finish_job(job.folder, request("finish"), Follower())
    names = (result / "environment.txt").read_text().split("\n")
    assert "WANDB_API_KEY" in names
    assert not [name for name in names if name.startswith("PREFECT_")]


def test_a_job_that_is_to_end_for_now_commits_first(job: Job) -> None:
    with pytest.raises(PausedError, match="asked to"):
        finish_job(job.folder, request("pause"), Follower(ended=lambda: bool(job.beats())))


def test_ranks_that_do_not_commit_in_time_are_killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "STOPPING", 0.3)
    with pytest.raises(PausedError, match="had not committed the step at hand"):
        finish_job(job.folder, request("ignore"), Follower(ended=lambda: bool(job.beats())))
    assert all(process.found() is None for process in job.processes())


@pytest.mark.parametrize("kind", [RewardError, StalledError])
def test_an_error_of_ours_comes_through_as_it_is(job: Job, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^the message$"):
        finish_job(job.folder, request("raise", kind=kind.__name__), Follower())


def test_any_other_error_names_rank_phase_and_log(job: Job) -> None:
    with pytest.raises(RankError, match=r"rank 0 failed in the phase reward: KeyError: the message\. .*0\.log.* resume"):
        finish_job(job.folder, request("raise", kind="KeyError"), Follower())


def test_a_killed_rank_is_named_with_its_signal_and_phase(job: Job) -> None:
    with pytest.raises(RankError, match=r"rank 0 .* was killed by SIGKILL in the phase rollout; .*memory.* resume"):
        finish_job(job.folder, request("be killed"), Follower())


def test_a_launcher_that_fails_is_quoted(job: Job) -> None:
    with pytest.raises(RankError, match=r"without a result: no such thing as nonsense\. .*launcher\.log.* resume"):
        finish_job(job.folder, request("nonsense"), Follower())


def test_a_silent_rank_is_named_and_ended(job: Job) -> None:
    said = r"rank 0 \(process \d+ on .*\) was silent for \d+ s in the phase rollout.* limits\.silence_seconds"
    with pytest.raises(RankError, match=said):
        finish_job(job.folder, request("fall silent"), Follower(silence=0.5))
    assert all(process.found() is None for process in job.processes())


LOCAL, REMOTE = Process(here(), 2**22 + 1, 0.0), Process("another machine", 1, 0.0)


@pytest.mark.parametrize(("process", "limit"), [(LOCAL, 60.0), (REMOTE, 300.0)])
def test_a_rank_is_silent_once_its_beat_is_the_same_for_too_long(process: Process, limit: float) -> None:
    follower = Follower()
    first, second, last = (Beat(0, process, "update", number) for number in (1, 2, 3))
    assert follower.silent([first], 0.0) is None
    assert follower.silent([second], limit + 1) is None
    assert follower.silent([second], 2 * limit) is None
    assert follower.silent([second], 2 * limit + 2) == (second, limit + 1)
    assert follower.silent([replace(last, ended=True)], 9 * limit) is None
    assert follower.silent([replace(last, ended=True)], 99 * limit) is None


def test_a_rank_that_computes_without_a_beat_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([0.0, 1.0, 1.5])
    monkeypatch.setattr(Process, "seconds", lambda self: next(used))
    follower, beat = Follower(), Beat(0, LOCAL, "save", 1)
    assert follower.silent([beat], 0.0) is None
    assert follower.silent([beat], 61.0) is None  # one second of processor time in 61
    assert follower.silent([beat], 122.0) == (beat, 61.0)  # half a second


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, RankError])
def test_whatever_else_ends_the_follower_leaves_no_process(job: Job, error: type[BaseException]) -> None:
    def look() -> None:
        if job.beats():
            raise error("now")

    with pytest.raises(error):
        finish_job(job.folder, request("ignore"), Follower(look))
    assert len(job.processes()) == 2
    assert all(process.found() is None for process in job.processes())


def test_a_job_survives_its_follower_and_is_found_again(job: Job) -> None:
    wanted = request("pause")
    follower = started_elsewhere(job, wanted)
    follower.send_signal(signal.SIGKILL)
    follower.wait()
    launcher = job.launcher
    assert launcher is not None
    assert launcher.found() is not None
    with pytest.raises(PausedError, match="asked to"):
        finish_job(job.folder, wanted, Follower(ended=lambda: True))
    assert job.launcher == launcher  # nothing was started


def test_a_job_for_something_else_ends_before_another_begins(job: Job) -> None:
    follower = started_elsewhere(job, request("pause"))
    follower.kill()
    follower.wait()
    launcher = job.launcher
    assert launcher is not None
    result = finish_job(job.folder, request("finish"), Follower())
    assert launcher.found() is None
    assert (result / "made.txt").exists()


def left_by_a_killed_run(job: Job, wanted: Request) -> Process:
    """The launcher of a job that is in progress."""
    follower = started_elsewhere(job, wanted)
    follower.kill()
    follower.wait()
    launcher = job.launcher
    assert launcher is not None
    return launcher


def test_a_job_for_the_same_work_is_followed_although_its_order_differs(job: Job) -> None:
    launcher = left_by_a_killed_run(job, request("pause"))
    with pytest.raises(PausedError, match="asked to"):
        finish_job(job.folder, request("pause", gate="another"), Follower(ended=lambda: True))
    assert job.launcher == launcher


def test_a_run_that_is_to_end_while_another_job_ends_begins_none(job: Job) -> None:
    launcher = left_by_a_killed_run(job, request("pause"))
    with pytest.raises(PausedError, match="after the checkpoint of an earlier job"):
        finish_job(job.folder, request("finish"), Follower(ended=lambda: job.stop_asked))
    assert (job.launcher, launcher.found(), job.result.exists()) == (launcher, None, False)


def test_a_run_that_trains_itself_lets_the_ranks_of_a_job_commit_first(job: Job) -> None:
    launcher = left_by_a_killed_run(job, request("pause"))
    end_job(job.folder, Follower())
    assert (job.paused, launcher.found()) == ("asked to", None)


def test_a_run_that_is_to_end_while_a_job_ends_does_not_train_itself(job: Job) -> None:
    launcher = left_by_a_killed_run(job, request("pause"))
    with pytest.raises(PausedError, match="after the checkpoint of an earlier job"):
        end_job(job.folder, Follower(ended=lambda: job.stop_asked))
    assert (job.paused, launcher.found()) == ("asked to", None)


def test_a_run_that_is_interrupted_while_a_job_ends_leaves_no_process(job: Job) -> None:
    def interrupted() -> bool:
        raise Interrupted("SIGINT")

    left_by_a_killed_run(job, request("ignore"))
    with pytest.raises(Interrupted):
        end_job(job.folder, Follower(ended=interrupted))
    assert all(process.found() is None for process in job.processes())


def test_a_killed_launcher_is_named_with_its_signal(job: Job) -> None:
    def kill() -> None:
        if job.beats() and job.launcher is not None:
            os.kill(job.launcher.pid, signal.SIGKILL)

    with pytest.raises(RankError, match=r"launcher \(process \d+\) was killed by SIGKILL; .*memory.* resume"):
        finish_job(job.folder, request("ignore"), Follower(kill))


def test_a_killed_launchers_ranks_end_before_another_job_begins(job: Job) -> None:
    job.begin(request("finish"))
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    rank = Process.of(left.pid)
    job.launched_by(replace(rank, pid=2**22 + 1))
    job.beat(Beat(0, rank, "update", 5))
    finish_job(job.folder, request("finish"), Follower())
    assert rank.found() is None


def test_a_job_of_another_machine_is_followed_there_while_its_ranks_beat(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.begin(request("finish"))
    there = Process("another machine", 7, 0.0)
    job.launched_by(there)
    beats = iter(range(1000))
    monkeypatch.setattr(Job, "beats", lambda self: [Beat(0, there, "update", next(beats))])
    with pytest.raises(RankError, match=r"in progress on another machine \(process 7\)"):
        finish_job(job.folder, request("finish"), Follower())


def test_a_job_of_another_machine_that_does_not_beat_is_over(job: Job) -> None:
    job.begin(request("finish"))
    there = Process("another machine", 7, 0.0)
    job.launched_by(there)
    job.beat(Beat(0, there, "update", 3))
    assert (finish_job(job.folder, request("finish"), Follower(silence=0.3)) / "made.txt").exists()


def test_a_launcher_that_the_record_does_not_name_does_not_begin(job: Job) -> None:
    job.begin(request("finish"))
    job.launched_by(Process.own())
    done = subprocess.run([sys.executable, "-m", "tests.launch.fake", str(job.folder)], check=False, timeout=30)
    assert done.returncode == 1
    assert not job.result.exists()


def test_a_record_that_is_no_job_is_replaced(job: Job) -> None:
    write_json(job.folder / "job.json", {"entry": "of another release"})
    assert (finish_job(job.folder, request("finish"), Follower()) / "made.txt").exists()


def test_ending_a_process_ends_what_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = Process.of(int(parent.stdout.readline()))
    known = Process.of(parent.pid)
    end([known])
    assert (known.found(), child.found()) == (None, None)
