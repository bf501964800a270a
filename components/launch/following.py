"""The side of a job that wants its result: start it, or find it in progress, follow it, and end it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ratchet.components.errors import PausedError, RankError
from ratchet.components.launch.failure import failure_of, silent_rank
from ratchet.components.launch.job import Beat, Job, Request
from ratchet.components.launch.processes import Process, end

POLL = 0.25  # seconds
ELSEWHERE = 5.0  # times as long for a rank of another machine: shared file systems may show an old file for a minute
WORKING = 0.01  # share of a processor that a rank uses if it does not beat because it holds the interpreter's lock
STOPPING = 600.0  # seconds in which the ranks must have committed the step at hand
LAUNCHERS = {"torchrun": "ratchet.components.launch.torchrun", "ray": "ratchet.components.launch.ray_train"}
CUT_SHORT = f"the ranks had not committed the step at hand after {STOPPING:g} s, and were ended; the same command resumes it"
BETWEEN = "the run was interrupted after the checkpoint of an earlier job; the same command resumes it"
PREFECT = "PREFECT_"  # variables with a server's credentials, which no rank needs


class Sign(NamedTuple):
    """The last sign of life of a rank."""

    beat: int  # number of the heartbeat
    at: float  # when it was seen, by time.monotonic()
    used: float  # seconds of processor time by then


@dataclass
class Follower:
    """What a follower does at each look, and when it ends the job for now."""

    look: Callable[[], None] = lambda: None  # passes on what the job has made
    ended: Callable[[], bool] = lambda: False  # whether the job is to commit and end
    silence: float = 60.0  # seconds after which a rank without a new heartbeat counts as stopped or lost
    seen: dict[int, "Sign"] = field(default_factory=dict)  # of life, by rank

    def silent(self, beats: Sequence[Beat], now: float) -> tuple[Beat, float] | None:
        """A rank that has given no sign of life for too long, and for how many seconds. No clock of another machine counts."""
        for beat in beats:
            sign = self.seen.get(beat.rank)
            if sign is None or beat.number != sign.beat or beat.ended:
                self.seen[beat.rank] = Sign(beat.number, now, beat.process.seconds())
                continue
            silence = now - sign.at
            if silence <= self.silence * (1 if beat.process.is_here else ELSEWHERE):
                continue
            used = beat.process.seconds()
            if used - sign.used < WORKING * silence:
                return beat, silence
            self.seen[beat.rank] = Sign(beat.number, now, used)
        return None


def finish_job(folder: Path, request: Request, follower: Follower) -> Path:
    """The result of a job: of the one in progress there, of one that ended meanwhile, or of a new one.

    Returns:
        The directory that the first rank committed.

    Raises:
        PausedError: if the job ended for now, after a checkpoint.
        RatchetError: the error of the rank that failed first.
    """
    job = Job(folder)
    launcher = _in_progress(job, follower)
    if launcher is not None and (job.stop_asked or not job.is_for(request)):
        _replaced(job, launcher, follower)
        launcher = None
    if launcher is None and job.finished is not None and job.is_for(request):
        return job.result
    started = None
    with _ended_at_last(job):
        if launcher is None:
            started, launcher = _start(job, request)
        job.followed_by(Process.own())
        _follow(job, launcher, follower)
    follower.look()
    if job.finished is not None:
        return job.result
    if (reason := job.paused) is not None:
        raise PausedError(reason)
    if job.stop_asked and not job.failures():
        raise PausedError(CUT_SHORT)
    raise failure_of(job, None if started is None else started.poll())


def end_job(folder: Path, follower: Follower) -> None:
    """Let the ranks of a job in progress commit and end: its training continues in another way.

    Raises:
        PausedError: if it does not, since the follower was to end for now meanwhile.
        RankError: if the job is of another machine and in progress there.
    """
    job = Job(folder)
    if (launcher := _in_progress(job, follower)) is not None:
        _replaced(job, launcher, follower)
    end(job.processes())  # ranks whose launcher was killed


def _in_progress(job: Job, follower: Follower) -> Process | None:
    """The launcher of a job in progress.

    Raises:
        RankError: if the job is of another machine and in progress there.
    """
    launcher = job.launcher
    if launcher is None or launcher.found() is not None:
        return launcher
    if not launcher.is_here and _beats_on(job, follower.silence):
        raise RankError(
            f"this training is in progress on {launcher.host} (process {launcher.pid}). Run the command there to follow it, "
            "or end that process and run it here to resume from the last checkpoint."
        )
    return None


def _beats_on(job: Job, seconds: float) -> bool:
    """Whether any rank's heartbeat changes while it is watched."""
    before, until = job.beats(), time.monotonic() + seconds
    while time.monotonic() < until and any(not beat.ended for beat in before):
        if job.beats() != before:
            return True
        time.sleep(POLL)
    return False


def _replaced(job: Job, launcher: Process, follower: Follower) -> None:
    """End a job whose training continues in another way.

    Raises:
        PausedError: if it does not, since the follower was to end for now meanwhile.
    """
    with _ended_at_last(job):
        if _stop(job, launcher, follower):
            raise PausedError(BETWEEN)


def _start(job: Job, request: Request) -> "tuple[subprocess.Popen[bytes], Process]":
    """A launcher in a session of its own: it outlives this process, and no signal of the terminal reaches it."""
    end(job.processes())  # ranks whose launcher was killed
    job.begin(request)
    command = [sys.executable, "-P", "-m", LAUNCHERS[request.launch.kind], str(job.folder)]
    with job.launcher_log.open("wb") as log:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith(PREFECT)},
            start_new_session=True,
        )
    launcher = Process.of(started.pid)
    job.launched_by(launcher)
    return started, launcher


def _follow(job: Job, launcher: Process, follower: Follower) -> None:
    """Until the launcher has ended.

    Raises:
        RankError: if a rank falls silent.
    """
    while launcher.found() is not None:
        follower.look()
        if follower.ended():
            _stop(job, launcher, follower)
            return
        if (lost := follower.silent(job.beats(), time.monotonic())) is not None:
            raise silent_rank(job, *lost)
        time.sleep(POLL)


def _stop(job: Job, launcher: Process, follower: Follower) -> bool:
    """Let the ranks commit and end; those that do not in time are killed.

    Returns:
        Whether the follower was to end for now meanwhile.
    """
    job.ask_to_stop()
    until, ended = time.monotonic() + STOPPING, follower.ended()
    while launcher.found() is not None and time.monotonic() < until:
        follower.look()
        ended = follower.ended() or ended
        time.sleep(POLL)
    end(job.processes())
    return ended


@contextmanager
def _ended_at_last(job: Job) -> Iterator[None]:
    """Whatever ends the block, no process of the job outlives it; if this process is killed, the job does."""
    try:
        yield
    finally:
        end(job.processes())
