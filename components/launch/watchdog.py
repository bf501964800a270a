"""Ends a phase of training that hangs: a collective without its other rank, a reward that waits for a service, a dead disk."""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from ratchet.components.errors import StalledError

GRACE = 60.0  # seconds that the error has to reach whoever waits, before the process is ended
STALLED = 75  # exit status of a process that no error could end; EX_TEMPFAIL: the same command resumes
EVERY = 1.0  # seconds between two looks
SIGNAL = signal.SIGUSR1


class Phase(NamedTuple):
    """A phase in progress."""

    name: str
    thread: int
    since: float  # of time.monotonic()


class Watchdog:
    """Limits the time of every phase of a training step. One that takes longer is ended by an error, or by an exit where no
    error arrives; before that, its name and the stacks of all threads are written."""

    def __init__(
        self, hours: float | None, stacks: Path, grace: float = GRACE, leave: Callable[[int], None] = os._exit
    ) -> None:
        """
        Args:
            hours: of one phase; None: no limit.
            stacks: the file that gets the stacks.
            leave: ends the process at once.
        """
        self.hours, self.stacks, self.grace, self.leave = hours, stacks, grace, leave
        self._phase: Phase | None = None
        self._stalled: Phase | None = None
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._former: Any = None  # the signal's handler before; not None once ours is in place

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within the block a phase is in progress.

        Raises:
            StalledError: if it takes longer than it may; in the main thread, which alone gets signals.
        """
        if self.hours is None:
            yield
            return
        if self._watcher is None:
            self._start()
        self._phase = Phase(name, threading.get_ident(), time.monotonic())
        try:
            yield
        finally:
            self._phase = None

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        if self._former is not None:
            signal.signal(SIGNAL, self._former)
            self._former = None

    def _start(self) -> None:
        if threading.current_thread() is threading.main_thread():
            # Until the end, not by phase: a signal for a phase that has just ended must not meet the default, which kills.
            self._former = signal.signal(SIGNAL, self._raise)
        self._watcher = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        assert self.hours is not None
        limit = 3600 * self.hours
        while not self._closed.wait(min(EVERY, limit / 4)):
            phase = self._phase
            if phase is not None and time.monotonic() - phase.since > limit:
                self._end(phase)

    def _end(self, phase: Phase) -> None:
        self._stalled = phase
        # In a thread of its own: the disk to which it is written may be what hangs.
        writer = threading.Thread(target=self._write, args=(phase,), name="stacks", daemon=True)
        writer.start()
        writer.join(self.grace / 2)
        if self._former is not None and phase.thread == threading.main_thread().ident:
            signal.pthread_kill(phase.thread, SIGNAL)  # a system call returns, and the handler raises
        until = time.monotonic() + self.grace
        while self._phase is phase and time.monotonic() < until:
            if self._closed.wait(0.05):
                return
        if self._phase is phase:
            print(self._message(phase), file=sys.stderr, flush=True)
            self.leave(STALLED)

    def _write(self, phase: Phase) -> None:
        try:
            self.stacks.parent.mkdir(parents=True, exist_ok=True)
            with self.stacks.open("w", encoding="utf-8") as file:
                print(f"process {os.getpid()}, phase {phase.name}", file=file, flush=True)  # faulthandler writes to it
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:  # a full disk, for example
            print(f"cannot write {self.stacks}: {error}", file=sys.stderr, flush=True)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._phase is not None and self._phase is self._stalled:
            raise StalledError(self._message(self._phase))

    def _message(self, phase: Phase) -> str:
        return (
            f"the phase {phase.name} of a training step took longer than limits.phase_hours = {self.hours:g}. What every "
            f"thread did is in {self.stacks}. Correct what it waits for; the same command resumes from the last checkpoint. "
            "If it is only slow, raise the limit (--set limits.phase_hours=N)"
        )
