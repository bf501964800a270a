"""Deleting what retention lets go, never beside a run: with the leases that runs take."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ratchet.components.home import Home
from ratchet.components.recipe import Recipe
from ratchet.components.run.cleanup import Cleanup, clean, now
from ratchet.components.run.retention import Item
from ratchet.flows.cli.views.console import console
from ratchet.flows.recording import DELETING, Recording

if TYPE_CHECKING:
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.registry.runs import Tracker

BUSY = "a run is under way; nothing is deleted beside it"


def collect(home: Home, recipe: Recipe, ledger: "Ledger", tracker: "Tracker", dry_run: bool) -> tuple[list[Item], str | None]:
    """Delete by the recipe's policy; returns what went, or would go, and why nothing did.

    Raises:
        RatchetError: if it cannot be told what is needed; nothing is deleted then.
    """
    cleanup = Cleanup(home, recipe, ledger, tracker, now())
    if dry_run:
        return clean(cleanup, True), None
    with alone(home) as free:
        return (clean(cleanup, False), None) if free else ([], BUSY)


@contextmanager
def alone(home: Home) -> Iterator[bool]:
    """Whether no run is under way; while the block lasts, none begins."""
    home.leases.mkdir(parents=True, exist_ok=True, mode=0o700)
    deleting = FileLock(home.leases / f"{DELETING}.lock")
    try:
        deleting.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield not any(_is_held(path.name, home) for path in sorted(home.leases.glob("run-*.lock")))
    finally:
        deleting.release()


def _is_held(name: str, home: Home) -> bool:
    lock = FileLock(home.leases / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def tidy(recording: Recording) -> None:
    """Delete by policy after a run. Whatever goes wrong, the run has ended well."""
    if recording.run_id is None:
        return
    context = recording.context
    try:
        items, _ = collect(context.home, context.recipe, recording.ledger, recording.tracker, dry_run=False)
    except Exception as error:  # the run is over; what it says must not be lost over old files
        console.print(f"old files stay: {error}", highlight=False, markup=False)
        return
    if items:
        console.print(f"deleted {len(items)} old things, {sum(item.size for item in items) / 1e6:.1f} MB", highlight=False)
