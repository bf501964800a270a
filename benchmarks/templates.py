"""Do the templates of `ratchet init` promote by luck? Whole runs of each over several seeds.

Usage: ``python -m benchmarks.templates [--json] [--seeds 5] [--kinds classify extract sql] [--at-once 1]``

A seed is ``ratchet run`` with one thread in a project of its own; the seeds are 1, 2, 3 and so on. Finished seeds are kept
under ``.ratchet/benchmarks/templates``, by the code and the recipe that made them, and are not run again. Prints of each
template how many runs were promoted, with Wilson's interval, the sampled accuracy on dev before and after, and the wall time;
and of each sampled check the mean, the standard deviation over seeds, and the distance from the mean to the threshold.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Row, machine, markdown
from benchmarks.seeds import COLUMNS, check_rows, ended, line, over_seeds, settings, share
from ratchet.components.code.source_code import sources_digest
from ratchet.components.scaffold.templates import template
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.home import Home

IN_MINUTES = ("classify", "extract", "sql")  # maths is the quickstart: benchmarks.seeds
RUN_COLUMNS = ("template", "promoted", "accuracy before", "after", "seconds")


def write(kind: str, project: Path) -> Path:
    """A template's files in a folder, as `ratchet init` leaves them."""
    for name, content in template(kind).project(kind).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    return project


def run_whole(kind: str, seed: int, folder: Path) -> Row:
    """``ratchet run`` of a template: its outcome, its reward's checks, and accuracy on dev before and after.

    Raises:
        RuntimeError: if it ended in an error, which says nothing of the template and is not kept.
    """
    project = write(kind, folder / f"{kind}-{seed}")
    overrides = [part for value in settings(seed) for part in ("--set", value)]
    begun = time.monotonic()
    command = [sys.executable, "-m", "ratchet", "run", "--json", *overrides]
    found = ended(command, project, RATCHET_HOME=str(project / ".ratchet"))
    if found["status"] == "error":
        raise RuntimeError(f"{project}: {found['error']}")
    outcome = {name: found.get(name) for name in ("status", "verdict", "failed_checks")}
    return {**outcome, "seconds": time.monotonic() - begun, **measured(project / ".ratchet" / "store", found)}


def measured(store: Path, found: Mapping[str, Any]) -> Row:
    """The checks of a run's reward, and its accuracies; of a run that ended early those that there are."""
    places = {stage["name"]: store / stage["name"] / stage["key"] for stage in found.get("stages", [])}
    checks = _json(places["reward"] / "report.json")["checks"] if "reward" in places else []
    if "evaluate" not in places:
        return {"checks": checks}
    summary = _json(places["evaluate"] / "summary.json")
    arms = {"before": "incumbent_sampled", "after": "challenger_sampled"}
    return {"checks": checks, **{name: summary[arm]["accuracy"]["value"] for name, arm in arms.items()}}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def summary(kind: str, runs: Sequence[Row]) -> Row:
    """How many runs of a template were promoted, and the mean and deviation of their figures."""
    promoted = share(sum(run["status"] == "promoted" for run in runs), len(runs))
    figures = {name: spread([run[name] for run in runs if name in run]) for name in ("before", "after", "seconds")}
    return {"template": kind, "promoted": promoted, **figures, "checks": check_rows(runs)}


def spread(figures: Sequence[float]) -> Row:
    """Mean and standard deviation over seeds; NaN where there are too few."""
    return {
        "mean": float(np.mean(figures)) if figures else math.nan,
        "sd": float(np.std(figures, ddof=1)) if len(figures) > 1 else math.nan,
    }


def run_line(row: Row) -> str:
    count = row["promoted"]
    promoted = f"{count['good']} of {count['of']} ({count['low']:.2f} to {count['high']:.2f})"
    before, after = (f"{row[name]['mean']:.3f} ± {row[name]['sd']:.3f}" for name in ("before", "after"))
    return f"| {row['template']} | {promoted} | {before} | {after} | {row['seconds']['mean']:.0f} |"


def main() -> None:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each template")
    parser.add_argument("--kinds", nargs="+", choices=IN_MINUTES, default=list(IN_MINUTES))
    parser.add_argument("--at-once", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    rows = []
    for kind in arguments.kinds:
        files = {name: content.hex() for name, content in template(kind).project(kind).items()}
        made_by = f"{sources_digest()[:12]}-{digest_of(files)[:12]}"
        folder = Home.here().state.absolute() / "benchmarks" / "templates" / made_by
        folder.mkdir(parents=True, exist_ok=True)
        runs = over_seeds(arguments.seeds, arguments.at_once, folder, kind, partial(run_whole, kind, folder=folder))
        rows.append(summary(kind, runs))
    where = machine("cpu", 1)
    if arguments.json:
        print(json.dumps({"templates": rows, "machine": where}, indent=2))
        return
    print(markdown(where, RUN_COLUMNS, map(run_line, rows)))
    for row in rows:
        print("", row["template"], "", markdown({}, COLUMNS, map(line, row["checks"])), sep="\n")


if __name__ == "__main__":
    main()
