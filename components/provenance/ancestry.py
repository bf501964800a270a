"""A version's lineage and that of its parents, back to the first policy and its data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ratchet.components.errors import RegistryError
from ratchet.components.provenance.lineage import FILE, TAG, Lineage, read_lineage

if TYPE_CHECKING:
    from ratchet.components.registry.versions import RegisteredVersion

NUMBER = re.compile(r"[1-9][0-9]{0,9}")
ALIASES = ("champion", "challenger")


class Versions(Protocol):
    """The part of the registry that lineage needs."""

    def alias(self, name: str, alias: str) -> str | None: ...
    def version(self, name: str, version: str) -> "RegisteredVersion": ...
    def fetch(self, run_id: str, name: str, target: Path) -> Path | None: ...


@dataclass(frozen=True)
class Ancestor:
    """One version of an ancestry; ``problem`` says why its record cannot be read."""

    version: str
    tags: Mapping[str, str]
    lineage: Lineage | None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The shape of an element of ``lineage --json``."""
        record = self.lineage.model_dump(mode="json") if self.lineage else None
        return {"version": self.version, "verdict": self.tags.get("verdict"), "lineage": record, "problem": self.problem}


def resolve(versions: Versions, name: str, version: str) -> str:
    """The number of a version given by number or alias.

    Raises:
        RegistryError: if there is no such version.
    """
    if NUMBER.fullmatch(version):
        return version
    found = versions.alias(name, version) if version in ALIASES else None
    if found is None:
        raise RegistryError(f"{name} has no version {version!r}. Give a number, champion or challenger; see `ratchet history`.")
    return found


def recorded_lineage(versions: Versions, name: str, number: str, scratch: Path) -> Lineage:
    """The record of a version, checked against its tag.

    Raises:
        RegistryError: if there is none, MLflow does not have it, or its sha256 is not the tag's.
    """
    registered = versions.version(name, number)
    digest = registered.tags.get(TAG)
    if digest is None:
        raise RegistryError(f"version {number} of {name} has no lineage record: an older release made it. Train it again.")
    path = versions.fetch(registered.run_id, FILE, scratch / number)
    if path is None:
        raise RegistryError(
            f"{FILE} of version {number} is not in MLflow run {registered.run_id}. Restore the run's artifacts."
        )
    return read_lineage(path, digest)


def ancestry(versions: Versions, name: str, number: str, scratch: Path) -> list[Ancestor]:
    """A version and its ancestors, newest first. An ancestor whose record cannot be read is the last, with the reason.

    Raises:
        RegistryError: if there is no such version.
    """
    found = [_ancestor(versions, name, number, scratch, versions.version(name, number).tags)]
    seen = {number}
    while (parent := _parent(found[-1])) is not None and parent not in seen:
        seen.add(parent)
        try:
            found.append(_ancestor(versions, name, parent, scratch, versions.version(name, parent).tags))
        except RegistryError as error:
            found.append(Ancestor(parent, {}, None, str(error)))
    return found


def _parent(child: Ancestor) -> str | None:
    return child.lineage.policy.version if child.lineage is not None else None


def _ancestor(versions: Versions, name: str, number: str, scratch: Path, tags: Mapping[str, str]) -> Ancestor:
    try:
        return Ancestor(number, tags, recorded_lineage(versions, name, number, scratch))
    except RegistryError as error:
        return Ancestor(number, tags, None, str(error))
