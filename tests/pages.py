"""What a page of HTML says to a reader."""

from pathlib import Path

from markupsafe import Markup


def text_of(page: str | Path) -> str:
    """The page's text without its markup: terms carry an explanation of their own."""
    return Markup(Path(page).read_text(encoding="utf-8")).striptags()  # noqa: S704 - read, not shown
