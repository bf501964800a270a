"""A training by ranks in a process of its own: ``python -m tests.launch.runs PLACE OVERRIDE...``."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from ratchet.components.interruption import admitted
from ratchet.components.launch.job import Job
from ratchet.components.storage.files import read_json, write_json
from tests.stages.by_hand import watching
from tests.stages.tiny_training import Training

TORCHRUN = "launch={kind: torchrun, workers: 2}"
RAY = "launch={kind: ray, workers: 2}"
LONG = ("train.steps=24", "train.prompts=8", "train.evaluate_every=2", "train.lr=1e-5")  # some seconds, of little learning


def job_of(training: Training) -> Job:
    """The job of the one training in progress."""
    wait_until(lambda: any(training.place.glob(".ratchet/store/train/.work.*/job/job.json")))
    (folder,) = training.place.glob(".ratchet/store/train/.work.*/job")
    return Job(folder)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_step(job: Job, step: int) -> None:
    """Until a step's checkpoint is durable."""
    wait_until(lambda: any(int(path.name[5:]) >= step for path in job.folder.parent.glob("step_*")))


def listening(job: Job) -> set[str]:
    """The addresses at which the launcher, the ranks, and what they started listen."""
    assert job.launcher is not None
    root = psutil.Process(job.launcher.pid)
    found = set[str]()
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            connections = process.net_connections(kind="inet")
            found |= {one.laddr.ip.removeprefix("::ffff:") for one in connections if one.status == psutil.CONN_LISTEN}
    return found


def in_a_process(training: Training, *overrides: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.launch.runs", str(training.place), *overrides]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def reported(training: Training) -> list[int]:
    """The steps that a process's observer was given."""
    return list(read_json(training.place / "reported.json"))


def finish(place: Path, overrides: Sequence[str]) -> None:
    """Train, and note the steps of which the observer was told."""
    training = Training(place)
    context = training.context(*overrides)
    try:
        with admitted():
            training.run(context)
    finally:
        write_json(place / "reported.json", [step for step, _ in watching(context).points])


if __name__ == "__main__":
    finish(Path(sys.argv[1]), sys.argv[2:])
