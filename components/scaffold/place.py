"""Where a project is to be: its folder, its name, and how its recipe refers to files."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ratchet.components.errors import RecipeError
from ratchet.components.storage.home import RECIPE, check_place

LONGEST_NAME = 64


def check_folder(folder: Path) -> None:
    """Refuse a folder that no project can be in.

    Args:
        folder: absolute.

    Raises:
        RecipeError: if it, or what is to contain it, is not a folder or cannot be written to.
        StoreError: if its path is one that a library cannot use.
    """
    check_place(folder, "Choose another folder")
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise RecipeError(f"{there} is not a folder. Name another place for the project.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RecipeError(f"{there} cannot be written to. Correct its permissions, or name another place for the project.")


def project_name(folder: Path) -> str:
    """A name that the registry takes, from the folder's: ASCII letters, digits, - and _."""
    plain = unicodedata.normalize("NFKD", folder.name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:LONGEST_NAME].rstrip("-_") or "project"


def reference_to(file: Path, folder: Path) -> str:
    """A file's path as the recipe has it: from the project's root, or absolute where it is outside."""
    path = Path(os.path.abspath(file))
    for root, inside in ((folder, path), (folder.resolve(), path.resolve())):
        if inside.is_relative_to(root):
            return inside.relative_to(root).as_posix()
    return str(path)


def check_rows_place(reference: str) -> None:
    """Refuse rows in the folder that dataset versions replace.

    Raises:
        RecipeError: naming the folder.
    """
    if reference.startswith("data/"):
        raise RecipeError(
            f"{reference} is in data/, where `ratchet data prepare` lays the prepared version. Move it, for example to rows/."
        )


def notes_on(folder: Path) -> Iterator[str]:
    """What a person should know of the place."""
    folder = folder.resolve()  # .. in a path has parents that it is not in
    above = next((path for path in folder.parents if (path / RECIPE).is_file()), None)
    if above is not None:
        yield f"{above} is a project too: a command in {folder} is about the inner one, and one above it about the outer"
    if not any((path / ".git").exists() for path in (folder, *folder.parents)):
        yield (
            "there is no git repository: `git init` and commit before the first run, so that `ratchet reproduce` can train its "
            "version again"
        )
