"""A rank's own side of a job: its log, its heartbeat, the limit of its phases, and the record of how it failed."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ratchet.components.errors import PausedError
from ratchet.components.launch.job import Beat, Failure, Job
from ratchet.components.launch.processes import Process
from ratchet.components.launch.watchdog import Watchdog

if TYPE_CHECKING:
    from ratchet.components.launch.ranks import Ranks

EVERY = 1.0  # seconds between two heartbeats
ABSENT = 60  # beats for which the job's record may be out of reach
UNLIMITED = timedelta(days=365)  # the process group wants a number


class Heart:
    """Beats in a thread of its own for as long as the process runs; ends the process once its launcher is gone."""

    def __init__(self, job: Job, rank: int, watchdog: Watchdog) -> None:
        self.job, self.rank, self.watchdog = job, rank, watchdog
        self.doing = "start"
        self._id, self._process, self._launcher, self._number = job.id, Process.own(), os.getppid(), 0
        self._closed = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within the block a phase is in progress; one that takes longer than it may is ended."""
        self.doing = name
        with self.watchdog.phase(name):
            yield
        self.doing = f"after {name}"

    def close(self) -> None:
        """The last beat says that the rank ended by itself."""
        self._closed.set()
        self.watchdog.close()
        self._thread.join()  # two that write a beat at once would take each other's file
        self._beat(ended=True)

    def fail(self, error: BaseException) -> None:
        """Record the exception that ends this rank."""
        text = "".join(traceback.format_exception(error))
        print(text, file=sys.stderr, flush=True)
        self.job.fail(Failure(self.rank, self.doing, time.time(), type(error).__name__, str(error), text))

    def _beat(self, ended: bool = False) -> None:
        self._number += 1
        self.job.beat(Beat(self.rank, self._process, self.doing, self._number, ended))

    def _run(self) -> None:
        failed = 0  # beats in a row: a shared file system may be away for a moment
        while not self._closed.wait(EVERY):
            try:
                over = os.getppid() != self._launcher or self.job.id != self._id
                if not over:
                    self._beat()
                failed = 0
            except (OSError, ValueError) as error:
                print(f"no heartbeat: {error}", file=sys.stderr, flush=True)
                failed += 1
                over = failed >= ABSENT
            if over:
                os._exit(1)  # nobody else would end this process, and another job may begin


def run_rank(folder: Path, work: Callable[[Job, Heart, "Ranks"], None]) -> NoReturn:
    """The whole of a rank's process. ``work`` runs between the meeting of the ranks and their parting.

    A PausedError ends the job for now. The process leaves at once after any other error: the other ranks may be waiting for
    it, and to part from them would wait for them.
    """
    job, rank = Job(folder), int(os.environ["RANK"])
    _write_to(job.log(rank))
    job.forget_end(rank)
    request = job.request()
    if request.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: a rank takes a device if it sees one
    hours = request.phase_hours
    leave = partial(_leave_stalled, job, rank)
    heart = Heart(job, rank, Watchdog(hours, job.stacks(rank), leave=leave))
    try:
        from ratchet.components.launch.ranks import joined

        with joined(UNLIMITED if hours is None else timedelta(hours=hours)) as ranks:
            _work(job, heart, ranks, work)
    except BaseException as error:
        _end(heart, error)
    heart.close()
    sys.exit(0)


def _work(job: Job, heart: Heart, ranks: "Ranks", work: Callable[[Job, Heart, "Ranks"], None]) -> None:
    try:
        work(job, heart, ranks)
        ranks.barrier()  # a rank that is done waits for the first, which writes the result
    except PausedError as end:  # on all ranks after the same step
        if ranks.first:
            job.pause(str(end))
    except BaseException as error:
        _end(heart, error)


def _end(heart: Heart, error: BaseException) -> NoReturn:
    heart.fail(error)
    os._exit(1)


def _leave_stalled(job: Job, rank: int, status: int) -> Any:
    """Where no error reaches a phase that hangs, the process has to go."""
    beat = next((beat for beat in job.beats() if beat.rank == rank), None)
    phase = beat.phase if beat else "start"
    message = f"the phase {phase} took longer than limits.phase_hours, and no error could end it"
    job.fail(Failure(rank, phase, time.time(), "StalledError", f"{message}. The same command resumes", ""))
    os._exit(status)


def _write_to(log: Path) -> None:
    """From here on all that this process and its own print goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
