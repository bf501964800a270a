"""Free disk space: required before a run begins, and named when something fails for want of it."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ratchet.components.errors import StoreError

MIB = 2**20
FLOOR = 32 * MIB  # a run of a small model writes about 10 MiB, databases included
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


def shortage(places: Iterable[Path]) -> str:
    """A sentence to append to the message of an error: which disk is nearly full; empty if none is.

    Libraries report a full disk in many ways: a server that does not start, a database that is malformed.
    """
    for place in places:
        if (free := free_bytes(place)) < FLOOR:
            return f" The disk of {place} has {free / MIB:,.1f} MiB free, which may be the cause. {REMEDY}"
    return ""
