"""``constraints.txt``: the versions of all libraries that a project's results were made with."""

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

CONSTRAINTS = "constraints.txt"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", re.MULTILINE)
HEAD = "# The libraries that are installed, for `ratchet reproduce`. After an upgrade: pip freeze > constraints.txt\n"


def installed_constraints() -> str:
    """The file's text for the running environment, one ``name==version`` per line.

    The local suffix of a build (``+cpu``) is left out, so that any build of that version fits.
    """
    found = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version.partition("+")[0] for one in distributions()}
    return HEAD + "".join(f"{name}=={found[name]}\n" for name in sorted(found))


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
