"""Trainings that go on by their ranks although no run follows them: the run's process was killed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ratchet.components.launch.job import Job
from ratchet.components.storage.home import Home


@dataclass(frozen=True)
class Orphan:
    """A job of this machine without a follower."""

    model: str
    job: Job
    process: int  # of its launcher
    done: int
    total: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "job": str(self.job.folder)}


def orphans(home: Home) -> Iterator[Orphan]:
    """The jobs in progress on this machine that nobody follows."""
    for folder in sorted(home.store.glob("train/.work.*/job")):
        job = Job(folder)
        launcher, follower = job.launcher, job.follower
        if launcher is None or launcher.found() is None or (follower is not None and follower.found() is not None):
            continue
        done, total, _ = job.progressed or (0, 0, "")
        yield Orphan(str(job.request().order["recipe"]["name"]), job, launcher.pid, done, total)
