"""Projects as `ratchet init` leaves them, in a folder of a test."""

from pathlib import Path

from ratchet.components.scaffold.templates import template


def write(kind: str, folder: Path) -> Path:
    """The files of a template, under its kind as the name; the project's folder."""
    for path, content in template(kind).project(kind).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
