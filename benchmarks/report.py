"""What the benchmarks print: the machine, Markdown tables under a line that says where and when, SVGs that repeat."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets")
MIB = 2**20

Row = dict[str, Any]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark that goes through shapes on a device."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of each side")
    return parser


def markdown(where: Row, columns: Sequence[str], lines: Iterable[str]) -> str:
    """A table for docs/results.md."""
    stated = ", ".join(f"{name} {value}" for name, value in where.items())
    return "\n".join([stated, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


def show(rows: Sequence[Row], where: Row, columns: Sequence[str], line: Callable[[Row], str], as_json: bool) -> None:
    """Print rows as JSON or as a table."""
    text = json.dumps({"rows": rows, "machine": where}, indent=2) if as_json else markdown(where, columns, map(line, rows))
    print(text)


def pick_device(wanted: str) -> str:
    """cpu or cuda."""
    import torch

    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def machine(device: str, threads: int) -> Row:
    """Where and with what it was measured."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        **versions(PACKAGES),
        "date": date.today().isoformat(),
    }


def subplots(*shape: int, **options: Any) -> tuple[Any, Any]:
    """matplotlib's, for an SVG that is the same each time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ratchet"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(*shape, **options)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write the SVG, without a date."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def versions(packages: Iterable[str]) -> Row:
    """The versions of those packages that are installed."""
    return {name: found for name in packages if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The model of the CPU."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
