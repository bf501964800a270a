"""A launcher of one rank that is itself: ``python -m tests.launch.fake JOB_DIRECTORY``. The job's order says what it does."""

import os
import signal
import sys
import time
from pathlib import Path

from ratchet.components.launch.job import Beat, Exit, Failure, Job
from ratchet.components.launch.processes import Process
from ratchet.components.storage.files import commit_directory, write_text

SECONDS = 60.0  # at most, so that nothing outlives a test for long


def wait_for_the_end(job: Job, beats: bool = True) -> None:
    """Until the job is to stop."""
    number, until = 1, time.monotonic() + SECONDS
    while not job.stop_asked and time.monotonic() < until:
        time.sleep(0.05)
        if beats:
            number += 1
            job.beat(Beat(0, Process.own(), "rollout", number))


def made(path: Path) -> None:
    write_text(path / "made.txt", str(os.getpid()))
    write_text(path / "environment.txt", "\n".join(os.environ))


def main() -> int:
    job = Job(Path(sys.argv[1]))
    if not job.is_launched_by(Process.own()):
        return 1
    does = job.request().order["does"]
    job.beat(Beat(0, Process.own(), "rollout", 1))
    job.progress(1, 2, "half")
    if does == "finish":
        commit_directory(job.result, made, {})
    elif does == "pause":
        wait_for_the_end(job)
        job.pause("asked to")
    elif does == "raise":
        job.fail(Failure(0, "reward", 1.0, job.request().order["kind"], "the message", "the traceback"))
        return 1
    elif does == "be killed":
        job.note_exit(Exit(0, os.getpid(), -signal.SIGKILL, 1))
        return 1
    elif does == "fall silent":
        wait_for_the_end(job, beats=False)
    elif does == "ignore":
        signal.pause()
    else:
        print("no such thing as", does)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
