"""A job's own record, a directory: what is wanted, the process that launched it, its ranks' heartbeats, progress and result.

The record is the truth about a job. Whoever finds it can follow the job, end it, or take its result, and need not have
started it. Every file is replaced as a whole, so that a reader sees an old state or a new one.
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ratchet.components.errors import StoreError
from ratchet.components.launch.processes import Process
from ratchet.components.recipe import Launch
from ratchet.components.storage.files import MANIFEST, read_json, verify_directory, write_json

LAUNCHING = 60  # seconds in which whoever starts a launcher must have recorded it


@dataclass(frozen=True)
class Request:
    """What is wanted of a job."""

    entry: str  # the module that each rank runs
    key: str  # of what is to be made: requests of one key are for the same work
    launch: Launch
    folder: str  # the ranks' working directory
    device: str  # auto, cpu or cuda
    threads: int  # of each rank on a CPU
    phase_hours: float | None  # of a phase, and of waiting for another rank; None: no limit
    order: Mapping[str, Any]  # JSON, for the entry alone

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "launch": self.launch.model_dump(mode="json"), "order": dict(self.order)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Request":
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**{**known, "launch": Launch.model_validate(values["launch"])})

    def is_same(self, other: "Request") -> bool:
        """Whether both are for the same work by the same processes. The order may say more, such as what follows the work."""
        return replace(self, order={}) == replace(other, order={})


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself, about once per second."""

    rank: int
    process: Process
    phase: str
    number: int  # of the beat: it tells a later one from an earlier one, by no clock
    ended: bool = False

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Beat":
        return cls(**{**values, "process": Process.from_json(values["process"])})


@dataclass(frozen=True)
class Failure:
    """The exception that ended a rank."""

    rank: int
    phase: str
    at: float  # seconds since the epoch, by the rank's own clock
    kind: str  # name of the exception's class
    message: str
    traceback: str


@dataclass(frozen=True)
class Exit:
    """A rank's process as its launcher saw it end: by an exit code, negative for a signal."""

    rank: int
    pid: int
    code: int
    at: int  # seconds since the epoch


@dataclass(frozen=True)
class Job:
    """The record of a job in a directory."""

    folder: Path

    @property
    def result(self) -> Path:
        """The directory that the first rank commits when the job is finished."""
        return self.folder / "result"

    @property
    def launcher_log(self) -> Path:
        return self.folder / "launcher.log"

    def log(self, rank: int) -> Path:
        """All that a rank prints."""
        return self.folder / "ranks" / f"{rank}.log"

    def stacks(self, rank: int) -> Path:
        """What every thread of a rank did when its phase took too long."""
        return self.folder / "ranks" / f"{rank}.stacks.txt"

    def begin(self, request: Request) -> None:
        """Replace what an earlier job left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "ranks").mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "job.json", {"id": uuid.uuid4().hex, **request.as_json()})

    @property
    def id(self) -> str:
        """Tells this job from those before and after it in the same directory."""
        return str(read_json(self.folder / "job.json")["id"])

    def request(self) -> Request:
        """
        Raises:
            StoreError: if there is no job.
        """
        return Request.from_json(read_json(self.folder / "job.json"))

    def is_for(self, request: Request) -> bool:
        """Whether this is what the job was begun for."""
        with suppress(StoreError, KeyError, ValueError):  # another release wrote it
            return self.request().is_same(request)
        return False

    def launched_by(self, process: Process) -> None:
        write_json(self.folder / "launcher.json", asdict(process))

    def is_launched_by(self, process: Process) -> bool:
        """Whether the record names this process, once it names any; a launcher that it does not name must not begin."""
        for _ in range(LAUNCHING * 10):
            if (launcher := self.launcher) is not None:
                return launcher.pid == process.pid and launcher.is_here
            time.sleep(0.1)
        return False

    @property
    def launcher(self) -> Process | None:
        values = self._read("launcher.json")
        return None if values is None else Process.from_json(values)

    def followed_by(self, process: Process) -> None:
        write_json(self.folder / "follower.json", asdict(process))

    @property
    def follower(self) -> Process | None:
        """Who wants the result; it may have been killed."""
        values = self._read("follower.json")
        return None if values is None else Process.from_json(values)

    def beat(self, beat: Beat) -> None:
        self._replace(f"ranks/{beat.rank}.json", asdict(beat))

    def beats(self) -> list[Beat]:
        """The last heartbeat of each rank that has begun."""
        files = sorted((self.folder / "ranks").glob("[0-9]*.json"))
        found = [self._read(f"ranks/{file.name}") for file in files if file.stem.isdigit()]
        return sorted((Beat.from_json(values) for values in found if values is not None), key=lambda beat: beat.rank)

    def progress(self, done: int, total: int, note: str) -> None:
        self._replace("progress.json", [done, total, note])

    @property
    def progressed(self) -> tuple[int, int, str] | None:
        """Done, total and a note; None before the first."""
        values = self._read("progress.json")
        return None if values is None else (values[0], values[1], values[2])

    def ask_to_stop(self) -> None:
        """The ranks commit after the step at hand, and end."""
        write_json(self.folder / "stop.json", {})

    @property
    def stop_asked(self) -> bool:
        return (self.folder / "stop.json").exists()

    def pause(self, reason: str) -> None:
        """The ranks ended for now, after a checkpoint."""
        write_json(self.folder / "paused.json", {"reason": reason})

    @property
    def paused(self) -> str | None:
        """Why; None if they did not."""
        values = self._read("paused.json")
        return None if values is None else str(values["reason"])

    def fail(self, failure: Failure) -> None:
        write_json(self.folder / "ranks" / f"{failure.rank}.failure.json", asdict(failure))

    def failures(self) -> list[Failure]:
        """In order of time."""
        files = sorted((self.folder / "ranks").glob("*.failure.json"))
        found = (self._read(f"ranks/{file.name}") for file in files)
        return sorted((Failure(**values) for values in found if values is not None), key=lambda failure: failure.at)

    def note_exit(self, end: Exit) -> None:
        write_json(self.folder / "ranks" / f"{end.rank}.exit.json", asdict(end))

    def exits(self) -> list[Exit]:
        """How the ranks' processes ended that did not end well, in order of time."""
        found = (self._read(f"ranks/{file.name}") for file in sorted((self.folder / "ranks").glob("*.exit.json")))
        return sorted((Exit(**values) for values in found if values is not None), key=lambda end: end.at)

    def forget_end(self, rank: int) -> None:
        """How an earlier attempt of a rank ended."""
        for kind in ("failure", "exit"):
            (self.folder / "ranks" / f"{rank}.{kind}.json").unlink(missing_ok=True)

    @property
    def finished(self) -> Path | None:
        """The result, every file's hash verified; None if there is none, or it is damaged."""
        if not (self.result / MANIFEST).exists():
            return None
        with suppress(StoreError):
            verify_directory(self.result)
            return self.result
        return None

    def processes(self) -> list[Process]:
        """The launcher, and what ranks have begun."""
        launcher = self.launcher
        return [*([launcher] if launcher else []), *(beat.process for beat in self.beats())]

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _replace(self, name: str, value: object) -> None:
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(json.dumps(value), encoding="utf-8")  # not synced: a crash may lose it
        os.replace(temporary, path)
