"""Who may read the state: by default its owner alone, since it has data, sealed items, reports and a server's token.

A umask is the one way to the files of SQLite, MLflow and DVC. RATCHET_UMASK sets another, for a group that shares a project.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ratchet.components.errors import StoreError

VARIABLE = "RATCHET_UMASK"
OWNER_ALONE = 0o077


def wanted_umask() -> int:
    """The umask of RATCHET_UMASK, or the owner's alone.

    Raises:
        StoreError: if the variable is not one, or takes rights from the owner.
    """
    text = os.environ.get(VARIABLE, f"{OWNER_ALONE:03o}")
    if not re.fullmatch(r"0?0?[0-7]{2}", text):
        raise StoreError(f"{VARIABLE} is {text!r}, and not a umask that leaves the owner's rights. Write 077, 027 or 007.")
    return int(text, 8)


def protect(roots: Iterable[Path]) -> None:
    """From here on, create files and folders of this process for the owner alone; take others' rights from those there are.

    Args:
        roots: folders and files of the state. One that is private already is not searched.

    Raises:
        StoreError: if one is something that others use, whose rights are not to be taken: a device, or a folder such as /tmp.
    """
    mask = wanted_umask()
    os.umask(mask)
    for root in roots:
        with suppress(OSError):  # absent, or of another user of the group
            if used_by_others(root):
                raise StoreError(f"{root} is used by others, and cannot be the state of a project. Name a folder of its own.")
            if root.stat().st_mode & mask:
                _tighten(root, mask)


def used_by_others(root: Path) -> bool:
    """A device, a folder in which each user has files, or the root of all."""
    mode = root.stat().st_mode
    folder = stat.S_ISDIR(mode) and not mode & stat.S_ISVTX and root.resolve() != Path(root.resolve().anchor)
    return not (folder or stat.S_ISREG(mode))


def _tighten(root: Path, mask: int) -> None:
    """What lies below first: a process that is killed meanwhile leaves the root as it was, and the next one begins again."""
    for path in [*(root.rglob("*") if root.is_dir() else ()), root]:
        with suppress(OSError):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o7777 & ~mask)


@contextmanager
def as_user_writes() -> Iterator[None]:
    """Within the block, files get the modes that other programs give them: a project's recipe and pointers are no state."""
    mask = os.umask(_usual)
    try:
        yield
    finally:
        os.umask(mask)


_usual = os.umask(OWNER_ALONE)
os.umask(_usual)
