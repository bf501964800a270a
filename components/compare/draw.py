"""The report of a comparison: a page, its picture and its figures, where the comparison is kept and where the user wants it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratchet.components.compare.compare import Comparison
from ratchet.components.compare.figures import Arm
from ratchet.components.compare.said import apart, counted, shown, verdict
from ratchet.components.report.bands import Panel, Point, drawn, legend, picture
from ratchet.components.report.theme import page
from ratchet.components.storage.files import write_json, write_text
from ratchet.components.storage.home import Home

PANELS = (
    ("accuracy", "Accuracy", "samples", "completions drawn"),
    ("accuracy", "Accuracy", "seconds", "seconds of training steps"),
    ("reward", "Reward", "samples", "completions drawn"),
    ("kl", "KL to the start, nats per answer", "samples", "completions drawn"),
)


def write_report(found: Comparison, home: Home, output: Path | None) -> Path:
    """``comparison.json``, ``.html`` and ``.svg`` in the comparison's folder; returns the page.

    Args:
        output: where to write the page too, and its picture beside it.
    """
    folder, panels = home.comparisons / found.id, panels_of(found)
    names = (found.first.name, found.second.name)
    write_json(folder / "comparison.json", found.as_json())
    for place in filter(None, (folder / "comparison.html", output)):
        write_text(place, page("comparison.html.j2", **values_of(found, panels)))
        if panels:
            write_text(place.with_suffix(".svg"), picture(panels, names))
    return output or folder / "comparison.html"


def values_of(found: Comparison, panels: Sequence[Panel]) -> dict[str, Any]:
    """What the page shows."""
    several, names = found.seeds > 1, (found.first.name, found.second.name)
    rows = [
        {"title": row.measure.title, "first": shown(row.first), "second": shown(row.second), "apart": apart(row)}
        for row in found.figures
    ]
    by_seed = [
        {"seed": a.seed, "first": f"{a.figures['accuracy']:.3f}", "second": f"{b.figures['accuracy']:.3f}"}
        for a, b in zip(found.first.runs, found.second.runs, strict=True)
        if "accuracy" in a.figures and "accuracy" in b.figures
    ]
    facts = [(arm.name, arm.described) for arm in (found.first, found.second)]
    return {
        "first": found.first,
        "second": found.second,
        "verdict": verdict(found),
        "tone": "good" if found.decided else "neutral",
        "legend": legend(names) if panels else None,
        "panels": [drawn(panel, names) for panel in panels],
        "seeds": counted(found.seeds),
        "several": several,
        "rows": rows,
        "by_seed": by_seed,
        "facts": [*facts, *((name.replace("_", " "), _said(value)) for name, value in found.task.items())],
        "notes": found.notes,
    }


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items() if one is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)


def panels_of(found: Comparison) -> list[Panel]:
    """The curves of training; of registered versions there are none."""
    arms = (found.first, found.second)
    panels = [Panel(title, across, [band(arm, y, x) for arm in arms]) for y, title, x, across in PANELS]
    return [panel for panel in panels if any(panel.lines)]


def band(arm: Arm, y: str, x: str) -> list[Point]:
    """A figure of the curve at each step that all seeds were evaluated after: mean, lowest and highest over seeds."""
    seeds = [{point.step: point for point in run.curve} for run in arm.runs]
    common = sorted(set.intersection(*(set(curve) for curve in seeds))) if seeds else []
    points = []
    for step in common:
        values = [value for curve in seeds if (value := getattr(curve[step], y)) is not None]
        if len(values) == len(seeds):
            place = sum(getattr(curve[step], x) for curve in seeds) / len(seeds)
            points.append(Point(place, sum(values) / len(values), min(values), max(values)))
    return points
