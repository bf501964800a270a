"""Processes of this machine, recognised although their numbers are used again, and ended with all that they started."""

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

SAME = 1.5  # seconds between two readings of one process's start; the kernel gives the machine's own in whole seconds
ENDING = 10.0  # seconds that a killed process may take to vanish


@dataclass(frozen=True)
class Process:
    """A process of a machine."""

    host: str
    pid: int
    started: float  # seconds after the machine's own start, which setting the clock does not change

    @classmethod
    def of(cls, pid: int) -> "Process":
        """
        Raises:
            psutil.NoSuchProcess: if there is none.
        """
        booted = psutil.boot_time()  # before the process's own time, which psutil counts from it
        return cls(here(), pid, psutil.Process(pid).create_time() - booted)

    @classmethod
    def own(cls) -> "Process":
        return cls.of(os.getpid())

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Process":
        return cls(**values)

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine."""
        return self.host == here()

    def found(self) -> psutil.Process | None:
        """The running process; None if it ended, or is of another machine."""
        if not self.is_here:
            return None
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            same = abs(Process.of(self.pid).started - self.started) < SAME
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def seconds(self) -> float:
        """Of processor time that it has used; 0 if it ended, or is of another machine."""
        with suppress(psutil.Error):
            if (process := self.found()) is not None:
                used = process.cpu_times()
                return float(used.user + used.system)
        return 0.0


def here() -> str:
    """This machine's name."""
    return platform.node() or "localhost"


def end(processes: Iterable[Process]) -> None:
    """Kill processes of this machine with all that they started; returns when they are gone."""
    found = [process for process in (known.found() for known in processes) if process is not None]
    victims = list(found)
    for process in found:
        with suppress(psutil.Error):
            victims += process.children(recursive=True)
    for process in victims:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(victims, timeout=ENDING)
