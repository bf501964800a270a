"""The data report: one HTML file that needs no network, with everything untrusted escaped and made visible."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.report.charts import bars, histogram
from ratchet.components.report.theme import page
from ratchet.components.text import visible

LABEL = 18  # characters of a label in a chart
ODD = ("file", "row", "column", "reason")  # of an odd text, as preparation notes it
LISTED = 50  # odd texts and failed rows shown; the rest are counted


def render(name: str, version: str, facts: Mapping[str, Any]) -> str:
    """The report's HTML, from the facts of :func:`ratchet.components.data.prepare.prepare`."""
    steps = [{**step, "examples": step["examples"][:LISTED]} for step in facts["steps"]]
    return page(
        "data.html.j2",
        name=name,
        version=version,
        raw_rows=facts["raw_rows"],
        kept=sum(facts["tables"].values()),
        steps=steps,
        examples=[step for step in steps if step["examples"] and not step.get("kept")],
        warnings=facts.get("warnings", []),
        truncated=facts.get("truncated", 0),
        odd=[dict(zip(ODD, row, strict=True)) for row in facts.get("odd", [])[:LISTED]],
        odd_rows=facts.get("odd_rows", 0),
        special_token_rows=facts.get("special_token_rows", 0),
        overlap=facts.get("overlap"),
        columns=[visible(name) for name in facts.get("columns", [])],
        lengths=[_length(column, figures) for column, figures in facts["lengths"].items()],
        answers=facts["answers"],
        answer_chart=bars(_labels(facts["answers"]["top"]), "most frequent answers"),
        split_chart=bars(list(facts["tables"].items()), "rows in each table"),
    )


def recalled(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a version's summary still records of its preparation, as facts for :func:`render`."""
    steps = [{"name": n, "title": n.replace("_", " "), "before": None, "dropped": d} for n, d in summary["dropped"].items()]
    return {
        "raw_rows": summary["raw_rows"],
        "steps": [{**step, "examples": []} for step in steps],
        "truncated": summary.get("truncated", 0),
        "columns": summary.get("columns", []),
        "warnings": summary.get("warnings", []),
    }


def _length(column: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {**figures, "column": column, "chart": histogram(figures["edges"], figures["counts"], f"{column}, tokens")}


def _labels(top: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    shown = [(visible(label), count) for label, count in top]
    return [(label if len(label) <= LABEL else label[: LABEL - 1] + "…", count) for label, count in shown]
