"""What a step of the real loop costs on this machine against the model's size, k and the length of completions.

Usage: ``python -m benchmarks.scaling [--json] [--sweeps size k length]``, or ``--ranks 1 2`` for ranks of torchrun

Each case trains benchmarks/scaling.yaml with other values, by the stages of a run, in this process and with one thread.
Policies are random, so that few completions end before the limit, and small: the figures say how the cost grows. Seconds are
of processor time, medians of the steps after the first; beside them the fastest step by the clock, to which other work adds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from benchmarks.report import Row, machine, show
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import validated_gold
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.stage import Context, Silent
from ratchet.components.stages.train import trained_candidate
from ratchet.components.stages.warmup import starting_policy
from ratchet.components.storage.home import Home
from ratchet.components.training.estimate import planned_shape

RECIPE = Path(__file__).with_suffix(".yaml")
PHASES = ("rollout", "update")
SIZES = ("layers x width", "parameters", "k", "limit", "drawn tokens")
RANKED = (*SIZES[:4], "ranks", "step, s", "rollout", "exchange", "update", "of one process")
COLUMNS = (*SIZES, "step, CPU s", "rollout", "update", "tokens per CPU s", "fastest step, s")


@dataclass(frozen=True)
class Case:
    """What differs from the recipe."""

    layers: int = 2
    width: int = 128
    k: int = 8
    new_tokens: int = 32

    @property
    def settings(self) -> list[str]:
        """As ``--set`` takes them."""
        shape = [f"policy.warmup.layers={self.layers}", f"policy.warmup.width={self.width}"]
        return [*shape, f"train.k={self.k}", f"policy.max_new_tokens={self.new_tokens}"]


SWEEPS = {
    "size": [Case(2, 64), Case(), Case(4, 256), Case(6, 512)],
    "k": [Case(k=k) for k in (2, 4, 8, 16)],
    "length": [Case(new_tokens=limit) for limit in (16, 32, 64, 128, 256)],
}


class Clock(Silent):
    """Processor time of this process, by step of training and by phase."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}
        self._phases: dict[str, float] = {}
        self._since = time.process_time()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self._phases[name] = self._phases.get(name, 0.0) + time.process_time() - started

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        if stage != "train":
            return
        now = time.process_time()
        self.steps.setdefault(done, {"step": now - self._since, **self._phases})  # a dev evaluation comes after its step
        self._phases, self._since = {}, now


def step_figures(settings: Sequence[str], project: Path) -> Row:
    """Train the recipe with these overrides, in a project of which every finished stage is used again."""
    clock = Clock()
    return figures(trained(settings, project, clock), clock.steps)


def trained(settings: Sequence[str], project: Path, observer: Silent) -> list[Mapping[str, float]]:
    """What training reports of each step."""
    context = Context(load_recipe(RECIPE, settings), Home(project, project / ".ratchet"), observer)
    data = prepare_data(context)
    start = starting_policy(context, data)
    reward = validated_reward(context, data, start, validated_gold(context, data))
    stage = trained_candidate(context, data, start, reward)
    return [values for _, values in stage.points if "step_time" in values]


def ranked_rows(case: Case, ranks: Sequence[int]) -> list[Row]:
    """A case on each number of ranks, one thread each, by the clock: processor time is of one process alone.

    Each in a project of its own, because a finished training serves for any number of ranks.
    """
    rows: list[Row] = []
    parameters = planned_shape(load_recipe(RECIPE, case.settings)).parameters
    for count in ranks:
        launch = [f"launch={{kind: torchrun, workers: {count}}}"] if count > 1 else []
        with tempfile.TemporaryDirectory() as project:
            points = trained([*case.settings, *launch], Path(project), Silent())[1:]
        names = {"step": "step_time", **{phase: f"time/{phase}" for phase in ("rollout", "exchange", "update")}}
        found = {name: statistics.median(point.get(key, 0.0) for point in points) for name, key in names.items()}
        rows.append({**vars(case), "parameters": parameters, "ranks": count, **found})
    return [{**row, "speedup": rows[0]["step"] / row["step"]} for row in rows]


def figures(points: Sequence[Mapping[str, float]], cpu: Mapping[int, Mapping[str, float]]) -> Row:
    """Of all steps but the first, which also allocates.

    Args:
        points: of each step, what training reports.
        cpu: by step, from 1, its processor time and that of its phases.
    """
    later = range(2, len(points) + 1)
    found = {name: statistics.median(cpu[step].get(name, 0.0) for step in later) for name in ("step", *PHASES)}
    tokens = statistics.median(point["num_tokens"] for point in points[1:])
    return {**found, "tokens": tokens, "fastest": min(point["step_time"] for point in points[1:])}


def row(case: Case, project: Path) -> Row:
    """A case with its figures."""
    parameters = planned_shape(load_recipe(RECIPE, case.settings)).parameters
    return {**vars(case), "parameters": parameters, **step_figures(case.settings, project)}


def _line(r: dict[str, Any]) -> str:
    shape = f"{r['layers']} x {r['width']} | {r['parameters'] / 1e6:.2f} M | {r['k']} | {r['new_tokens']} | {r['tokens']:,.0f}"
    times = " | ".join(f"{r[name]:.3f}" for name in ("step", *PHASES))
    return f"| {shape} | {times} | {r['tokens'] / r['step']:,.0f} | {r['fastest']:.3f} |"


def _ranked_line(r: dict[str, Any]) -> str:
    shape = f"{r['layers']} x {r['width']} | {r['parameters'] / 1e6:.2f} M | {r['k']} | {r['new_tokens']} | {r['ranks']}"
    times = " | ".join(f"{r[name]:.3f}" for name in ("step", "rollout", "exchange", "update"))
    return f"| {shape} | {times} | {r['speedup']:.2f} |"


def main() -> None:
    """Measure and print."""
    disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sweeps", nargs="+", choices=list(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--ranks", nargs="+", type=int, help="numbers of ranks, the first of them 1")
    given = parser.parse_args()
    if given.ranks:
        rows = [one for case in (Case(), Case(4, 256), Case(6, 512)) for one in ranked_rows(case, given.ranks)]
        show(rows, machine("cpu", 1), RANKED, _ranked_line, given.json)
        return
    rows = []
    with tempfile.TemporaryDirectory() as project:
        for case in dict.fromkeys(case for sweep in given.sweeps for case in SWEEPS[sweep]):
            rows.append(row(case, Path(project)))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    show(rows, machine("cpu", 1), COLUMNS, _line, given.json)


if __name__ == "__main__":
    main()
