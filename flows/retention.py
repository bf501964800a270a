"""Deleting what retention lets go, never beside a run: with the leases that runs take."""

from ratchet.components.run.cleanup import Cleanup, clean, now
from ratchet.components.run.locks import BUSY
from ratchet.components.run.project import Project
from ratchet.components.run.record import Run
from ratchet.components.run.retention import Item
from ratchet.flows.cli.views.console import say


def collect(project: Project, dry_run: bool) -> tuple[list[Item], str | None]:
    """Delete by the recipe's policy; returns what went, or would go, and why nothing did.

    Raises:
        RatchetError: if it cannot be told what is needed; nothing is deleted then.
    """
    cleanup = Cleanup(project.home, project.recipe, project.ledger, project.tracker, now())
    if dry_run:
        return clean(cleanup, True), None
    with project.locks.deleting() as free:
        return (clean(cleanup, False), None) if free else ([], BUSY)


def tidy(run: Run) -> None:
    """Delete by policy after a run. Whatever goes wrong, the run has ended well."""
    if run.run_id is None:
        return
    try:
        items, _ = collect(run.project, dry_run=False)
    except Exception as error:  # the run is over; what it says must not be lost over old files
        say(f"old files stay: {error}")
        return
    if items:
        say(f"deleted {len(items)} old things, {sum(item.size for item in items) / 1e6:.1f} MB")
