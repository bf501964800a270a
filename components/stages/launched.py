"""A training whose ranks are a job: its order, the figures that it makes durable, and what becomes of its result."""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ratchet.components.checkpoints.steps import in_order, step_of
from ratchet.components.code.extras import missing_ray
from ratchet.components.code.source_code import sources_digest
from ratchet.components.errors import RecipeError
from ratchet.components.launch.following import LAUNCHERS, Follower, end_job, finish_job
from ratchet.components.launch.job import Job, Request
from ratchet.components.launch.torchrun import JOIN
from ratchet.components.recipe import Recipe
from ratchet.components.stages.loaded_training import JOB, Order, TrainingFacts
from ratchet.components.stages.stage import Observer
from ratchet.components.storage.files import MANIFEST, read_json, write_json
from ratchet.components.storage.store import FACTS

ENTRY = "ratchet.components.run.rank"  # runs in each rank; it is above the stages, which only name it
CODE = "code"  # in the order: what Ratchet's sources were in the process that gave it


def trained_by_ranks(order: Order, observer: Observer, ended: Callable[[], bool], path: Path) -> TrainingFacts:
    """Train by a job, the one in progress if there is one, and fill a directory with what its first rank has saved.

    Raises:
        RecipeError, MissingExtraError: if this machine cannot start so many ranks.
        PausedError, RatchetError: as training in one process raises them.
    """
    check_launch(order.recipe)
    order = replace(order, checkpoints=order.checkpoints.absolute())
    job = Job(order.checkpoints / JOB)
    relay = Relay(job, order.checkpoints, observer)
    launch = order.recipe.launch
    if launch.nodes > 1:
        command = shlex.join(["python", "-P", "-m", LAUNCHERS[launch.kind], str(job.folder), JOIN])
        note = f"on each other node, whose NODE is its number from 1 to {launch.nodes - 1}, run: {command} NODE"
        observer.progress("train", 0, order.recipe.train.steps, note)
    result = finish_job(job.folder, request_of(order), follower_of(order, ended, relay.look))
    take(result, path)
    return TrainingFacts(**read_json(path / FACTS))


def end_left_job(order: Order, observer: Observer, ended: Callable[[], bool]) -> None:
    """End the job that a killed run left, whose training continues in this process, and pass on what nobody saw of it.

    Raises:
        PausedError: if it is to go on later instead.
    """
    job = Job(order.checkpoints / JOB)
    if job.folder.exists():
        end_job(job.folder, follower_of(order, ended))
        Relay(job, order.checkpoints, observer)


def follower_of(order: Order, ended: Callable[[], bool], look: Callable[[], None] = lambda: None) -> Follower:
    """What follows the job of a training."""
    return Follower(look, ended, order.recipe.limits.silence_seconds)


def take(result: Path, path: Path) -> None:
    """Fill a directory with a job's result, without its manifest."""
    shutil.copytree(result, path, copy_function=_linked, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def _linked(source: str, target: str) -> None:
    """A second name of a file; a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def request_of(order: Order) -> Request:
    """The job that trains."""
    import torch

    recipe = order.recipe
    threads = recipe.threads or max(1, torch.get_num_threads() // recipe.launch.local_workers)
    hours = recipe.limits.phase_hours
    wanted = {**order.as_json(), CODE: sources_digest()}
    return Request(ENTRY, order.key, recipe.launch, str(Path.cwd()), recipe.device, threads, hours, wanted)


def check_launch(recipe: Recipe) -> None:
    """
    Raises:
        RecipeError: if a GPU machine has fewer devices than it would have ranks.
        MissingExtraError: if Ray is not installed.
    """
    launch = recipe.launch
    if launch.kind == "ray" and find_spec("ray") is None:
        raise missing_ray()
    if recipe.device == "cpu" or (launch.kind == "ray" and launch.address is not None):
        return
    import torch

    devices = torch.cuda.device_count()
    if 0 < devices < launch.local_workers:
        raise RecipeError(
            f"launch asks for {launch.local_workers} ranks on this machine, each on a CUDA device of its own, and there are "
            f"{devices}. Lower launch.workers, add nodes, or use a machine with {launch.local_workers}."
        )


class Relay:
    """Passes on what a job's checkpoints make durable, each figure once; what may have been passed on before, as such.

    That is what an earlier process passed on, and steps that are made again because their checkpoint was damaged.
    """

    def __init__(self, job: Job, checkpoints: Path, observer: Observer) -> None:
        self.job, self.checkpoints, self.observer = job, checkpoints, observer
        self._note = checkpoints / "reported.json"  # the step up to which any process has passed on
        self._progress: tuple[int, int, str] | None = None
        before = int(read_json(self._note)) if self._note.exists() else -1
        self._upto = self._committed()
        self._known = max(before, self._upto)
        if self._upto >= 0:
            self._pass_on(min(before, self._upto), self._upto)

    def look(self) -> None:
        """Called again and again while the job is in progress, and once after its end."""
        if (progress := self.job.progressed) is not None and progress != self._progress:
            self._progress = progress
            self.observer.progress("train", *progress)
        if (step := self._committed()) > self._upto:
            self._pass_on(self._upto + 1, step)
            self._upto = step

    def _committed(self) -> int:
        """The last step with a checkpoint; -1 before the first."""
        return max(map(step_of, self.checkpoints.glob("step_*")), default=-1)

    def _pass_on(self, first: int, last: int) -> None:
        """Figures and samples of the checkpoints between two steps, both included."""
        points = [(step, values) for file in self._files("metrics", first, last) for step, values in read_json(file)]
        self.observer.resumed("train", [point for point in points if point[0] <= self._known])
        self.observer.metrics("train", [point for point in points if point[0] > self._known])
        for file in self._files("samples", first, last):
            self.observer.samples("train", step_of(file), read_json(file))
        self._known = max(self._known, last)
        write_json(self._note, self._known)

    def _files(self, kind: str, first: int, last: int) -> list[Path]:
        return [file for file in in_order(self.checkpoints / kind, "step_*.json") if first <= step_of(file) <= last]
