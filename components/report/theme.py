"""One look for every report: HTML that loads nothing and runs no script but ours, with everything untrusted escaped and made
visible.
"""

import base64
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from ratchet.components.report.terms import Explained
from ratchet.components.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent
BLUE, GREEN, RED, GREY = "#28508c", "#1a7f4b", "#b3261e", "#9aa0a6"
STYLE, FILTER = (Markup((TEMPLATES / name).read_text("utf-8")) for name in ("style.css", "filter.js"))  # noqa: S704 - our files


def page(template: str, script: Markup | None = None, **values: Any) -> str:
    """A template's HTML. A missing value is an error.

    Every string passes :func:`visible` and is escaped, except Markup, which is made here. The templates' filter ``explained``
    gives each term of the glossary its definition where the page first uses it.

    Args:
        script: of the page; without one, none may run.
    """
    own = {"style": STYLE, "script": script, "policy": _policy(script), "explained": Explained()}
    return _environment().get_template(template).render({**values, **own})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_visible_text
    )
    environment.filters |= {"explained": _explained, "lines": visible_lines}
    return environment


@pass_context
def _explained(context: Context, text: str) -> Any:
    return context["explained"](text)


def _policy(script: Markup | None) -> Markup:
    """The content security policy: our style and our script by their hashes, images within the page, and nothing else."""
    said = f"default-src 'none'; img-src data:; style-src {_hash(STYLE)}"
    said += f"; script-src {_hash(script)}" if script else ""
    return Markup(f"{said}; base-uri 'none'; form-action 'none'")  # noqa: S704 - hashes alone


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _visible_text(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def visible_lines(text: str) -> Markup:
    """A text of many lines, each made visible and escaped, so that its length has no limit."""
    return Markup("\n").join(visible(line) for line in text.splitlines())


def svg(figure: "Figure", transparent: bool = False) -> bytes:
    """A matplotlib figure as SVG, without its date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=transparent)
    return buffer.getvalue()


def embedded(image: bytes) -> Markup:
    """An SVG image as base64, for a page's ``data:`` address; not truncated, although it is longer than any text shown."""
    return Markup(base64.b64encode(image).decode())  # noqa: S704 - base64 has no markup
