"""The model card: the description of a registered version, as Markdown."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ratchet.components.report.theme import TEMPLATES
from ratchet.components.text import visible

TEMPLATE = "model-card.md.j2"
SIGNS = str.maketrans({"&": "&amp;", "<": "&lt;", **{sign: f"\\{sign}" for sign in "\\`*[]|"}})


def render(values: Mapping[str, Any], project: Path) -> str:
    """The card's Markdown. ``values`` has the names that the template uses; a missing one is an error.

    Args:
        project: its own ``mlflow/model-card.md.j2`` overrides ours.
    """
    # No autoescape, which is for HTML. Markdown is escaped as each value is written.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader([project / "mlflow", TEMPLATES]), undefined=StrictUndefined, finalize=_text
    )
    return environment.get_template(TEMPLATE).render(values)


def _text(value: Any) -> Any:
    return markdown_text(value) if isinstance(value, str) else value


def markdown_text(text: str) -> str:
    """A text that stays one line of text in Markdown: no markup, no cell of a table, no HTML, no invisible character."""
    return re.sub(r"\s+", " ", visible(text)).translate(SIGNS)
