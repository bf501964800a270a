"""Pointer files: what DVC records about a version, and what Ratchet adds. Parsed strictly, because anyone can edit them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ratchet.components.errors import DataError
from ratchet.components.recipe import default_name
from ratchet.components.storage.files import write_text

POINTER = "data.dvc"
NAMES = re.compile(r"(data(?:\.[A-Za-z0-9][A-Za-z0-9_-]{0,63})?)\.dvc")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
MAX_CHARS = 10_000
# Which configuration made it, its files' sha256, rows added to it, and, in a project, the recipe whose version it is.
META = {"recipe_data": str, "sha256": str, "added": int, "recipe": str}


@dataclass(frozen=True)
class Place:
    """Where a version is in a project or a workspace: ``data/`` and ``data.dvc``, or ``data.NAME/`` and ``data.NAME.dvc``."""

    root: Path
    name: str = "data"

    @property
    def data(self) -> Path:
        return self.root / self.name

    @property
    def pointer(self) -> Path:
        return self.root / f"{self.name}.dvc"

    def text(self) -> str:
        """The pointer as it is in a workspace, and as records keep it.

        Raises:
            DataError: if there is no pointer, or it is not one.
        """
        return relocated(read_pointer(self.pointer))


def place_of(project: Path, recipe: str, configuration: str) -> Place:
    """Where the version of a recipe is: ``data.dvc`` for the default recipe, ``data.NAME.dvc`` beside another's ``data.dvc``.

    A pointer without a recipe's name, which an older release wrote, belongs to the default recipe and to the recipe whose
    configuration made it.

    Args:
        configuration: digest of the recipe's data section.
    """
    shared, own, default = Place(project), Place(project, f"data.{recipe}"), default_name(project)
    if own.pointer.is_file():
        return own
    meta = meta_of(shared.pointer) if shared.pointer.is_file() else {}
    if "recipe" in meta:
        return shared if meta["recipe"] == recipe else own
    return shared if default in (None, recipe) or meta.get("recipe_data") == configuration else own


def places(project: Path) -> list[Place]:
    """Every version that a project has, of whichever recipe."""
    names = (NAMES.fullmatch(path.name) for path in sorted(project.glob("data*.dvc")))
    return [Place(project, found[1]) for found in names if found is not None]


def restoring(name: str) -> str:
    """The remedy for a pointer file that is not what Ratchet wrote; the project may be in no git repository."""
    return (
        f"Restore it: git checkout -- {name}, if it was committed; else `ratchet data restore RUN` with a run that used it, or "
        "delete it and run `ratchet data prepare`, which leaves out added rows."
    )


def read_pointer(path: Path) -> dict[str, Any]:
    """A pointer file as data.

    Raises:
        DataError: if it is not a DVC pointer whose one output has the file's name.
    """
    try:
        return read_pointer_text(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}. {restoring(path.name)}") from error


def read_pointer_text(text: str, name: str = POINTER) -> dict[str, Any]:
    """The text of a pointer file as data; ``name`` is the file's.

    Raises:
        DataError: if it is not a DVC pointer whose one output has the file's name.
    """
    content = name.removesuffix(".dvc")
    try:
        if len(text) > MAX_CHARS:
            raise ValueError(f"longer than {MAX_CHARS} characters")
        pointer = yaml.safe_load(text)
        (out,) = pointer["outs"]
        valid = (
            set(pointer) <= {"outs", "meta"}
            and all(type(value) is META.get(key) for key, value in pointer.get("meta", {}).items())
            and set(out) <= {"md5", "size", "nfiles", "hash", "path"}
            and out["path"] == content
            and MD5.fullmatch(str(out["md5"]))
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{name} is not a DVC pointer ({error}). {restoring(name)}") from error
    if not valid:
        raise DataError(f"{name} is not a plain pointer to {content}/ with an md5. {restoring(name)}")
    return dict(pointer)


def pointer_md5(path: Path) -> str:
    """The version in a pointer."""
    return str(read_pointer(path)["outs"][0]["md5"])


def meta_of(path: Path) -> dict[str, Any]:
    """What Ratchet added to a pointer: see ``META``."""
    return dict(read_pointer(path).get("meta") or {})


def pinned_version(place: Place, configuration: str) -> str | None:
    """The md5 that a project's pointer gives for a data configuration, or None if it is for another.

    Args:
        configuration: digest of the recipe's data section, which ``write_pointer`` put into the pointer.
    """
    if not place.pointer.is_file() or meta_of(place.pointer).get("recipe_data") != configuration:
        return None
    return pointer_md5(place.pointer)


def added_rows(path: Path) -> int:
    """How many rows were added to the source's in the version of a pointer."""
    return int(meta_of(path).get("added", 0))


def write_pointer(path: Path, **meta: str | int) -> None:
    """Add to a pointer what DVC does not know: see ``META``."""
    pointer = read_pointer(path)
    pointer["meta"] = meta
    write_text(path, yaml.safe_dump(pointer, sort_keys=False))


def relocated(pointer: Mapping[str, Any], name: str = "data", recipe: str | None = None) -> str:
    """The text of a pointer to the same version at ``name``/, with the recipe whose version it is, if it is a project's."""
    meta = {key: value for key, value in (pointer.get("meta") or {}).items() if key != "recipe"}
    meta |= {"recipe": recipe} if recipe else {}
    outs = [{**out, "path": name} for out in pointer["outs"]]
    return yaml.safe_dump({"outs": outs, **({"meta": meta} if meta else {})}, sort_keys=False)
