"""Free disk space: required before a run begins, and named when something fails for want of it."""

import re
import shutil
from collections.abc import Iterable, Iterator
from errno import EDQUOT, ENOSPC
from pathlib import Path

from ratchet.components.errors import StoreError

MIB = 2**20
FLOOR = 32 * MIB  # a run of a small model writes about 10 MiB, databases included
FULL = re.compile(r"no space left on device|disk quota exceeded|disk (?:is )?full", re.IGNORECASE)
REMEDY = "Free space, or set RATCHET_HOME to another disk."


def free_bytes(place: Path) -> int:
    """Bytes that this user can still write at a path, which need not exist yet."""
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(existing).free


def require_space(place: Path, needed: int) -> None:
    """
    Raises:
        StoreError: if fewer than ``needed`` bytes are free at a place.
    """
    free = free_bytes(place)
    if free < needed:
        least = f"this run writes at least {needed / MIB:,.0f} MiB"
        raise StoreError(f"the disk of {place} has {free / MIB:,.1f} MiB free, and {least}. {REMEDY}")


def shortage(error: BaseException, places: Iterable[Path]) -> str:
    """A sentence to append to the message of an error that says that a disk is full: which one is; else empty.

    Libraries put what the system says into errors of their own, or only into their texts.
    """
    if not any(_says_full(one) for one in _causes(error)):
        return ""
    for place in places:
        if (free := free_bytes(place)) < FLOOR:
            return f" The disk of {place} has {free / MIB:,.1f} MiB free, which may be the cause. {REMEDY}"
    return ""


def _says_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)) or FULL.search(str(error)) is not None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
