"""Arms of a comparison that take turns, step by step, so that both meet the same load. Only one computes at a time."""

import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import MIB
from benchmarks.shapes import Shape, build

LIMIT = 900.0  # seconds that a turn may take; the first also loads the model and compiles


@dataclass
class Arm:
    """What one arm's steps took. The first one warms up (compiles, captures, allocates) and counts for nothing else."""

    first: float
    seconds: list[float] = field(default_factory=list)
    peak: int = 0  # bytes above the baseline: with the libraries loaded, before the model
    baseline: int = 0
    figures: list[dict[str, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def slowest_over_median(self) -> float:
        return max(self.seconds) / self.median

    @property
    def peak_mib(self) -> float:
        return self.peak / MIB

    def phases(self) -> dict[str, float]:
        """Median seconds of each phase that the product's loop reports."""
        names = sorted({name for step in self.figures for name in step if name.startswith("time/")})
        return {name: statistics.median(step.get(name, 0.0) for step in self.figures) for name in names}


@dataclass(frozen=True)
class Plan:
    """How arms are compared."""

    shape: Shape
    device: str
    threads: int
    steps: int
    sequential: bool = False  # one arm after the other, where two do not fit into the device's memory


def compare(plan: Plan, arms: Sequence[str]) -> dict[str, Arm]:
    """Each arm's steps, after one that is not counted.

    Raises:
        RuntimeError: if an arm fails or takes longer than ``LIMIT`` per turn.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(plan.shape, folder)
        if plan.sequential:
            return {arm: _take_turns(plan, [arm], folder)[arm] for arm in arms}
        return _take_turns(plan, arms, folder)


def _take_turns(plan: Plan, arms: Sequence[str], folder: Path) -> dict[str, Arm]:
    with ExitStack() as stack:
        connections = {arm: stack.enter_context(_process(plan, arm, folder)) for arm in arms}
        found = {arm: Arm(_turn(arm, connections[arm])["seconds"]) for arm in arms}
        for step in range(plan.steps):
            for arm in arms if step % 2 == 0 else reversed(arms):
                told = _turn(arm, connections[arm])
                found[arm].seconds.append(told["seconds"])
                found[arm].figures.append(told["figures"])
                found[arm].peak, found[arm].baseline = told["peak"] - told["baseline"], told["baseline"]
    return found


@contextmanager
def _process(plan: Plan, arm: str, folder: Path) -> Iterator[Any]:
    """The arm's process; it is ended in any case."""
    from benchmarks.arms import work

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Two more turns than are counted: the first, and one that never begins. An arm that has taken its last step continues
    # computing (it evaluates, saves, ends), and the other arms' last turns would meet that.
    arguments = (arm, plan.shape.name, str(folder), plan.device, plan.threads, plan.steps + 2, theirs)
    process = context.Process(target=work, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def _turn(arm: str, connection: Any) -> dict[str, Any]:
    connection.send("step")
    if not connection.poll(LIMIT):
        raise RuntimeError(f"{arm} took longer than {LIMIT:.0f} s for a step")
    try:
        told: dict[str, Any] = connection.recv()
    except EOFError:
        raise RuntimeError(f"{arm} has failed; its own output above says why") from None
    return told
