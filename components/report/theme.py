"""One look for every report: HTML that loads nothing and runs no script, with everything untrusted escaped and made visible."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ratchet.components.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent
BLUE, GREEN, RED, GREY, INK = "#28508c", "#1a7f4b", "#b3261e", "#9aa0a6", "#1c1e21"


def page(template: str, **values: Any) -> str:
    """A template's HTML. A missing value is an error.

    Every string passes :func:`visible` and is escaped, except Markup, which is made here.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_visible_text
    )
    return environment.get_template(template).render(values)


def _visible_text(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def svg(figure: "Figure") -> bytes:
    """A matplotlib figure as SVG, without its date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def embedded(image: bytes | None) -> Markup | None:
    """An SVG image as base64, for a page's ``data:`` address; not truncated, although it is longer than any text shown."""
    return None if image is None else Markup(base64.b64encode(image).decode())  # noqa: S704 - base64 has no markup
