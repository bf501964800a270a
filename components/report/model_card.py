"""The model card: the description of a registered version, as Markdown. What it says of sealed items follows their fold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ratchet.components.report.theme import TEMPLATES
from ratchet.components.text import visible

TEMPLATE, SEALED_TEMPLATE = "model-card.md.j2", "model-card-sealed.md.j2"
SEALED = re.compile(r"<!-- sealed -->.*?<!-- /sealed -->", re.DOTALL)
OLDER = "; the verdict\nrests on sealed items, whose scores are not published here."  # in cards of an older release
LOAD = re.compile(r"^## Load$.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
DELETED = "## Load\n\nThe files of this version were deleted by retention. `ratchet reproduce {version}` rebuilds them.\n\n"
STILL_SEALED = re.compile(r"; its figures stay sealed until the fold is retired[^\n]*")  # a verdict's reason, until then
LIMIT = 5000  # characters of a description in MLflow's database
FIGURES = 12
SIGNS = str.maketrans({"&": "&amp;", "<": "&lt;", **{sign: f"\\{sign}" for sign in "\\`*[]|"}})


def render(values: Mapping[str, Any], project: Path) -> str:
    """The card's Markdown. ``values`` has the names that the template uses; a missing one is an error.

    Args:
        project: its own ``mlflow/model-card.md.j2`` overrides ours.
    """
    return _environment(project).get_template(TEMPLATE).render(values, judged=[], shown=FIGURES)


@dataclass(frozen=True)
class Judged:
    """A verdict on a version, on a fold that is retired, and the run in MLflow that reached it."""

    outcome: str
    fold: str
    run_id: str
    figures: Sequence[tuple[str, float]]


def with_sealed(card: str, judged: Sequence[Judged], project: Path) -> str:
    """A card with the figures of verdicts on retired folds, in place of what it said of sealed items, or at its end.

    A card that would be too long for MLflow names the runs alone.
    """
    template = _environment(project).get_template(SEALED_TEMPLATE)
    card = STILL_SEALED.sub(".", card) if judged else card
    old = SEALED.search(card)
    before, after = (card[: old.start()], card[old.end() :]) if old else (f"{card.replace(OLDER, '.').rstrip()}\n\n", "")
    whole, brief = (before + template.render(judged=judged, shown=shown) + after for shown in (FIGURES, 0))
    return whole if len(whole) <= LIMIT else brief


def without_files(card: str, version: str) -> str:
    """A card of a version whose files are deleted: how to rebuild them, in place of how to load them or at its end."""
    said = DELETED.format(version=version)
    if LOAD.search(card):
        return LOAD.sub(said, card)
    return f"{card[: LIMIT - len(said) - 2].rstrip()}\n\n{said}"


def _environment(project: Path) -> Environment:
    # No autoescape, which is for HTML. Markdown is escaped as each value is written.
    loader = FileSystemLoader([project / "mlflow", TEMPLATES])
    return Environment(loader=loader, undefined=StrictUndefined, finalize=_text)  # noqa: S701


def _text(value: Any) -> Any:
    return markdown_text(value) if isinstance(value, str) else value


def markdown_text(text: str) -> str:
    """A text that stays one line of text in Markdown: no markup, no cell of a table, no HTML, no invisible character."""
    return re.sub(r"\s+", " ", visible(text)).translate(SIGNS)
