"""Pointer files: what DVC records about a version, and what Ratchet adds. Parsed strictly, because anyone can edit them."""

import re
from pathlib import Path
from typing import Any

import yaml

from ratchet.components.errors import DataError
from ratchet.components.files import write_text

POINTER = "data.dvc"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
MAX_CHARS = 10_000
META = {"recipe_data": str, "sha256": str, "added": int}  # which configuration made it, its files' sha256, rows added to it


def read_pointer(path: Path) -> dict[str, Any]:
    """A pointer file as data.

    Raises:
        DataError: if it is not a DVC pointer of one output named ``data``.
    """
    try:
        return read_pointer_text(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}. Restore it: git checkout -- {path.name}.") from error


def read_pointer_text(text: str, name: str = POINTER) -> dict[str, Any]:
    """The text of a pointer file as data; ``name`` names it in errors.

    Raises:
        DataError: if it is not a DVC pointer of one output named ``data``.
    """
    try:
        if len(text) > MAX_CHARS:
            raise ValueError(f"longer than {MAX_CHARS} characters")
        pointer = yaml.safe_load(text)
        (out,) = pointer["outs"]
        valid = (
            set(pointer) <= {"outs", "meta"}
            and all(type(value) is META.get(key) for key, value in pointer.get("meta", {}).items())
            and set(out) <= {"md5", "size", "nfiles", "hash", "path"}
            and out["path"] == "data"
            and MD5.fullmatch(str(out["md5"]))
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{name} is not a DVC pointer ({error}). Restore it: git checkout -- {name}.") from error
    if not valid:
        raise DataError(f"{name} is not a plain pointer to data/ with an md5. Restore it: git checkout -- {name}.")
    return dict(pointer)


def pointer_md5(path: Path) -> str:
    """The version in a pointer."""
    return str(read_pointer(path)["outs"][0]["md5"])


def pinned_version(project: Path, configuration: str) -> str | None:
    """The md5 that the project's tracked pointer gives for a data configuration, or None if it is for another.

    Args:
        configuration: digest of the recipe's data section, which ``write_pointer`` put into the pointer.
    """
    path = project / POINTER
    if not path.is_file():
        return None
    pointer = read_pointer(path)
    if (pointer.get("meta") or {}).get("recipe_data") != configuration:
        return None
    return str(pointer["outs"][0]["md5"])


def added_rows(path: Path) -> int:
    """How many rows were added to the source's in the version of a pointer."""
    return int((read_pointer(path).get("meta") or {}).get("added", 0))


def write_pointer(path: Path, **meta: str | int) -> None:
    """Add to a pointer what DVC does not know: see ``META``."""
    pointer = read_pointer(path)
    pointer["meta"] = meta
    write_text(path, yaml.safe_dump(pointer, sort_keys=False))
