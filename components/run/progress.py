"""How far a run of this machine is, in a small file beside the ledger: `ratchet status` reads it, and nothing relies on it."""

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ratchet.components.storage.home import Home

EVERY = 1.0  # seconds between two writes
REPLAYED = 0.005  # seconds between two steps that are read from a checkpoint and not computed
APPROVAL = "approval"  # no stage: the run waits for a person, and its note says until when
STAGES = ("data", "gold", "warmup", "reward", "train", "evaluate", "gate")  # what a person is told of, in order


@dataclass(frozen=True)
class Progress:
    """Where a run is; times are seconds since the epoch."""

    stage: str
    done: int
    total: int
    note: str
    since: float  # begin of the stage in this process
    at: float  # when this was written
    first: int = 0  # how much was done before it: by an earlier process, whose steps are replayed in moments
    resumed: float | None = None  # when so much was done; None: since the stage's begin

    @property
    def number(self) -> int | None:
        """Of the stage among those that people are told of, from 1; the fetch of a champion, for example, has none."""
        return STAGES.index(self.stage) + 1 if self.stage in STAGES else None

    @property
    def stages(self) -> int:
        """How many people are told of."""
        return len(STAGES)

    @property
    def seconds_left(self) -> float | None:
        """Of the stage, if it continues at its mean pace; None before its first step."""
        mine, began = self.done - self.first, self.since if self.resumed is None else self.resumed
        return (self.at - began) / mine * (self.total - self.done) if mine > 0 and self.done <= self.total else None


def path_of(home: Home, identity: str) -> Path:
    return home.state / "progress" / f"{identity}.json"


class Display(Protocol):
    """Shows the progress of a run."""

    def live(self) -> AbstractContextManager[None]:
        """Draw within the block."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""

    def finished(self, stage: str, cached: bool, seconds: float) -> None:
        """A stage is finished."""


class Pace:
    """Follows a run's steps: since when a stage is in progress, and how much of it an earlier process had done."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._stage, self._since, self._done, self._noted = "", 0.0, 0, 0.0
        self._first, self._resumed = 0, 0.0

    def note(self, stage: str, done: int, total: int, note: str) -> Progress:
        """A stage has done ``done`` of ``total``; less than before, if its next part begins."""
        now = self.clock()
        begins = stage != self._stage or done < self._done
        if begins:
            self._since = now
        if begins or now - self._noted < REPLAYED:  # steps of an earlier process
            self._first, self._resumed = done, now
        self._stage, self._done, self._noted = stage, done, now
        return Progress(stage, done, total, note, self._since, now, self._first, self._resumed)


class ProgressFile:
    """Written by the process that acts for a run, at most once per second and at each new stage; deleted when it ends."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.pace = path, Pace(clock)
        self._stage, self._written = "", -EVERY

    def note(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``. A full disk is not this file's to report."""
        progress = self.pace.note(stage, done, total, note)
        if stage == self._stage and progress.at - self._written < EVERY:
            return
        self._stage, self._written = stage, progress.at
        with suppress(OSError):
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(progress)), encoding="utf-8")  # not synced: a crash may lose it
        os.replace(temporary, self.path)

    def delete(self) -> None:
        """The process acts for the run no longer."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def progress_of(home: Home, identity: str) -> Progress | None:
    """What the file says; None if there is none, or another release wrote it."""
    try:
        return Progress(**json.loads(path_of(home, identity).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
