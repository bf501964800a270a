"""``constraints.txt``: the versions of all libraries that a project's results were made with."""

import hashlib
import re
from collections.abc import Collection, Mapping
from importlib.metadata import Distribution, distributions, packages_distributions
from pathlib import Path

CONSTRAINTS = "constraints.txt"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
OWN = "ratchet-rl"  # its release is recorded with each version, and so not pinned
HEAD = "# The libraries that are installed, for `ratchet reproduce`. After an upgrade: ratchet lock\n"


def installed_versions() -> dict[str, str]:
    """Name -> version of each installed library; of two copies that which is imported."""
    found: dict[str, str] = {}
    for one in distributions():
        if (name := _name(one)) is not None:
            found.setdefault(name, one.version)
    return found


def installed_constraints() -> str:
    """The file's text for the running environment, one ``name==version`` per line.

    The local suffix of a build (``+cpu``) is left out, so that any build of that version fits. What was installed from a
    folder or an address is named in a comment alone: an index may have something else of that name.
    """
    found, others = installed_versions(), elsewhere()
    pinned = (f"{name}=={found[name].partition('+')[0]}\n" for name in sorted(found.keys() - others - {OWN}))
    left_out = (f"# {name} {found[name]}: not from an index\n" for name in sorted(others - {OWN}))
    return HEAD + "".join([*pinned, *left_out])


def elsewhere() -> set[str]:
    """Installed libraries that came from a folder or an address: an index may have something else of that name."""
    return {name for one in distributions() if (name := _name(one)) is not None and one.read_text("direct_url.json")}


def pins(text: str) -> str:
    """What an index is asked for: the pinned libraries, one per line, without local suffixes. Other lines are left out."""
    found = {_canonical(name): version.partition("+")[0] for name, version in PINNED.findall(text)}
    return "".join(f"{name}=={version}\n" for name, version in found.items() if name != OWN)


def lock_digest(project: Path) -> str | None:
    """sha256 of the project's ``constraints.txt``; None without one."""
    path = project / CONSTRAINTS
    return bytes_digest(path.read_bytes() if path.is_file() else None)


def bytes_digest(content: bytes | None) -> str | None:
    """sha256 of a file's content; None if the file does not exist."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def off_lock(project: Path, installed: Mapping[str, str]) -> dict[str, str]:
    """Library -> the lock's version, if a different one is installed. A build's local suffix (``+cpu``) does not count."""
    path = project / CONSTRAINTS
    locked = dict(PINNED.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    return {n: locked[n] for n, v in installed.items() if n in locked and locked[n].partition("+")[0] != v.partition("+")[0]}


def unlocked(project: Path, modules: Collection[str]) -> set[str]:
    """Installed libraries that have one of these modules, and that the project's ``constraints.txt`` does not pin."""
    if not modules:
        return set()
    path, having = project / CONSTRAINTS, packages_distributions()
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    pinned = {OWN, *(_canonical(name) for name, _ in PINNED.findall(text))}
    found = [{_canonical(name) for name in having.get(module, [])} for module in modules]
    return {name for names in found if names.isdisjoint(pinned) for name in names}  # one of several that share a namespace


def _name(one: Distribution) -> str | None:
    """None for what an interrupted installation left, which has no metadata."""
    try:
        metadata = one.metadata
    except FileNotFoundError:  # so the backport that other libraries bring; the standard library gives None
        return None
    return _canonical(metadata["Name"]) if metadata is not None and metadata["Name"] and metadata["Version"] else None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
