"""Does the quickstart depend on luck? Its reward's checks over many seeds, and whole runs over some of them.

Usage: ``python -m benchmarks.seeds [--json] [--reward 20] [--whole 5] [--at-once 2]``

A seed is a process with one thread; the seeds are 1, 2, 3 and so on. A whole run is ``ratchet run`` in a project of its own,
which finds the stages that were made for the checks. Finished seeds are kept under ``.ratchet/benchmarks/seeds``, by the code
and the recipe that made them, and are not run again. Prints how many rewards passed and how many runs were promoted, with
Wilson's interval, and of each sampled check the mean, the standard deviation over seeds, and the distance from the mean to
the threshold.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quickstart import RECIPE, kept
from benchmarks.report import Row, machine, markdown
from ratchet.components.code.source_code import sources_digest
from ratchet.components.statistics.intervals import share_interval
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.home import Home

ROOT = Path(__file__).parents[1]
AT_LEAST = {
    *("pair_accuracy", "length_baseline", "short_chosen_accuracy", "worst_subset", "agreement", "noise"),
    *("gold_references", "gold_parsed"),
}
COLUMNS = ("check", "mean", "sd over seeds", "threshold", "room, in sd")


def settings(seed: int) -> list[str]:
    """What a seed changes of the recipe."""
    return [f"seed={seed}", "threads=1"]


def report_of(seed: int) -> dict[str, Any]:
    """The report of the reward stage, made in this process if it is not in the store."""
    from ratchet.components.recipe import load_recipe
    from ratchet.components.stages.data import prepare_data
    from ratchet.components.stages.gold import validated_gold
    from ratchet.components.stages.reward import validated_reward
    from ratchet.components.stages.stage import Context
    from ratchet.components.stages.warmup import starting_policy

    context = Context(load_recipe(RECIPE, settings(seed)), Home.here())
    data = prepare_data(context)
    stage = validated_reward(context, data, starting_policy(context, data), validated_gold(context, data))
    found: dict[str, Any] = json.loads((stage.path / "report.json").read_text(encoding="utf-8"))
    return {name: found[name] for name in ("passed", "failed", "checks")}


def ended(command: Sequence[str], where: Path, **variables: str) -> dict[str, Any]:
    """The JSON that a command printed, whatever its exit code says of the outcome."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command)} printed nothing: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def validate(seed: int) -> dict[str, Any]:
    """The reward stage of a seed, in a process of its own."""
    return ended([sys.executable, "-m", "benchmarks.seeds", "--seed", str(seed)], Path.cwd())


def run_whole(seed: int, folder: Path, store: Path) -> dict[str, Any]:
    """``ratchet run`` of a seed in a project of its own, on the stages of a store."""
    project = folder / f"project-{seed}"
    (project / ".ratchet").mkdir(parents=True, exist_ok=True)
    if not (project / ".ratchet" / "store").exists():
        (project / ".ratchet" / "store").symlink_to(store, target_is_directory=True)
    overrides = [part for value in settings(seed) for part in ("--set", value)]
    command = [sys.executable, "-m", "ratchet", "run", "--json", "--recipe", str(RECIPE), *overrides]
    found = ended(command, project, RATCHET_HOME=str(project / ".ratchet"))
    return {name: found.get(name) for name in ("status", "verdict", "failed_checks", "error")}


def over_seeds(count: int, at_once: int, folder: Path, name: str, measure: Callable[[int], Row]) -> list[Row]:
    """A result per seed, several at a time, each from its file where it is finished."""

    def one(seed: int) -> Row:
        found = kept(folder / f"{name}-{seed}.json", partial(measure, seed))
        print(f"{name} {seed}: {found.get('status') or found['failed'] or 'passed'}", file=sys.stderr, flush=True)
        return {"seed": seed, **found}

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, range(1, count + 1)))


def room(name: str, figures: Sequence[float], threshold: float) -> float:
    """Distance of the mean from the threshold in standard deviations over seeds; negative on the bad side."""
    mean, deviation = float(np.mean(figures)), float(np.std(figures, ddof=1)) if len(figures) > 1 else math.nan
    distance = mean - threshold if name in AT_LEAST else threshold - mean
    return distance / deviation if deviation else math.copysign(math.inf, distance)


def check_rows(reports: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Of each check with an interval: mean and deviation of the figure over seeds, threshold, and room."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        for check in report["checks"]:
            if check["low"] is not None:
                found.setdefault(check["name"], []).append(check)
    rows = []
    for name, checks in found.items():
        figures, threshold = [check["value"] for check in checks], checks[0]["threshold"]
        deviation = float(np.std(figures, ddof=1)) if len(figures) > 1 else math.nan
        row = {"check": name, "mean": float(np.mean(figures)), "sd": deviation, "threshold": threshold}
        rows.append({**row, "room": room(name, figures, threshold), "seeds": len(figures)})
    return rows


def share(good: int, of: int) -> Row:
    """A count with Wilson's interval."""
    figure = share_interval(good, of)
    return {"good": good, "of": of, "low": figure.low, "high": figure.high}


def said(what: str, found: Row) -> str:
    return f"{what}: {found['good']} of {found['of']} ({found['low']:.2f} to {found['high']:.2f})"


def line(row: Row) -> str:
    return f"| {row['check']} | {row['mean']:.3f} | {row['sd']:.3f} | {row['threshold']:g} | {row['room']:.1f} |"


def main() -> None:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--reward", type=int, default=20, help="seeds of the reward stage")
    parser.add_argument("--whole", type=int, default=5, help="seeds of the whole run")
    parser.add_argument("--at-once", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)  # the child: one reward stage, printed as JSON
    arguments = parser.parse_args()
    if arguments.seed is not None:
        print(json.dumps(report_of(arguments.seed)))
        return
    home = Home.here()
    folder = home.state / "benchmarks" / "seeds" / f"{sources_digest()[:12]}-{file_digest(RECIPE)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    reports = over_seeds(arguments.reward, arguments.at_once, folder, "reward", validate)
    whole = partial(run_whole, folder=folder, store=home.store.absolute())
    runs = over_seeds(arguments.whole, arguments.at_once, folder, "whole", whole)
    passed = share(sum(report["passed"] for report in reports), len(reports))
    promoted = share(sum(run["status"] == "promoted" for run in runs), len(runs))
    rows, where = check_rows(reports), machine("cpu", 1)
    if arguments.json:
        print(json.dumps({"passed": passed, "promoted": promoted, "checks": rows, "runs": runs, "machine": where}, indent=2))
        return
    print(said("rewards that passed", passed), said("runs that were promoted", promoted), sep="\n")
    print(markdown(where, COLUMNS, map(line, rows)))


if __name__ == "__main__":
    main()
