"""Runs whose process was killed: found by lock and claim, never by age, marked in the ledger and in MLflow, and swept.

A claim whose holder held a lock of this machine, which no process holds now, is a dead process's. A claim from another place
(another machine, or this one before it was restarted) cannot be told from a live one. It is left alone unless it is watched: it
is taken over after its whole lifetime without a renewal.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ratchet.components.ledger.claims import Claim, acquired, taken_from_silent
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks, lock_name
from ratchet.components.project.retention import Item
from ratchet.components.registry.journal import Journal
from ratchet.components.registry.sending import KILLED
from ratchet.components.storage.files import MANIFEST, left_behind
from ratchet.components.storage.home import Home
from ratchet.components.text import redacted
from ratchet.components.upkeep.unsent import send_journal


class _AliveError(Exception):
    """The claim is held from elsewhere."""


def end_killed_runs(home: Home, say: Callable[[str], None], watch: Collection[str] = ()) -> None:
    """Mark killed runs and delete what no run will resume, in one line; nothing is said if there is nothing.

    Checkpoints of unfinished training are kept for as long as retention says: the same run resumes from them.

    Args:
        watch: identities whose claim, if it is from another place, is watched until it is renewed or its lifetime is over:
            the latter shows that its holder is dead or has lost it.
    """
    ledger, locks = Ledger(home.ledger, say=say), Locks(home.locks, say)
    said = [_end(home, ledger, locks, identity, holder, identity in watch) for identity, holder in ledger.unended().items()]
    items = _swept(home, locks)
    if items:
        said.append(f"deleted {len(items)} leftovers of killed processes, {sum(item.size for item in items) / 1e6:.1f} MB")
    if any(said):
        say("; ".join(filter(None, said)))


def _end(home: Home, ledger: Ledger, locks: Locks, identity: str, holder: str, watch: bool) -> str | None:
    """Mark the run of an identity if its process is dead; what to say about it."""
    with _taken_over(ledger, locks, identity, watch) as dead:
        if not dead:
            return None
        row = ledger.running(identity)
        if row is None:
            return f"{holder} was killed before its run had recorded anything"
        killed = f"run {row['run_id'][:12]} of {row['model']} was killed ({holder})"
        ledger.break_run(identity, "killed")
        journal = Journal(home.journals, lock_name(identity), locks.folder)  # its claim is ours
        reason = f"{holder} ended without a result"
        journal.append(KILLED, model=row["model"], run_id=row["run_id"], reason=reason)
        try:
            send_journal(journal, home, ledger, locks)
        except Exception as error:  # MLflow's client raises its own; the ledger is what counts
            return f"{killed}, which MLflow has yet to be told: {redacted(str(error))}"
        return f"{killed}; the same command resumes it"


@contextmanager
def _taken_over(ledger: Ledger, locks: Locks, identity: str, watch: bool) -> Iterator[bool]:
    """Whether the process that acted for a run is dead; its claim is ours within the block, and free after it."""
    with locks.idle(lock_name(identity)) as idle:
        claim = _claimed(ledger, locks, identity, watch) if idle else None
        if claim is None:
            yield False
            return
        with claim.kept():
            yield True


def _claimed(ledger: Ledger, locks: Locks, identity: str, watch: bool) -> Claim | None:
    def alive(holder: str, seconds: float) -> None:
        if watch:
            locks.say(f"{holder} holds a run; watching whether it is alive, for at most {seconds:g} s")
        raise _AliveError

    place = locks.place(lock_name(identity))
    try:
        return acquired(ledger, identity, place, alive)
    except _AliveError:
        return taken_from_silent(ledger, identity, place) if watch else None


def _swept(home: Home, locks: Locks) -> list[Item]:
    """Delete leftovers unless a run is in progress; returns what was deleted."""
    if not _leftovers(home):
        return []
    with locks.deleting() as alone:
        items = [_item(path) for path in _leftovers(home)] if alone else []
        for item in items:
            shutil.rmtree(item.name, ignore_errors=True)
        return items


def _leftovers(home: Home) -> list[Path]:
    """Scratch directories of dead processes, and checkpoints whose stage is finished."""
    scratch = [path for folder in _folders(home) for path in left_behind(folder)]
    works = sorted(home.store.glob("*/.work.*"))
    finished = [path for path in works if (path.parent / path.name.removeprefix(".work.") / MANIFEST).is_file()]
    return [*scratch, *finished]


def _folders(home: Home) -> list[Path]:
    """Where processes write scratch directories: stages, checkpoints, workspaces."""
    checkpoints = {path.parent for path in home.store.glob("*/.work.*/**/.tmp.*")}
    return [*sorted(path for path in home.store.glob("*") if path.is_dir()), *sorted(checkpoints), home.workspaces]


def _item(path: Path) -> Item:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return Item("leftover", str(path), path.stat().st_mtime, size)
