"""Figures of runs that are over, which MLflow does not have yet: sent at the start of a run, and by ``ratchet reconcile``."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks, lock_name, silent
from ratchet.components.project.project import open_tracker
from ratchet.components.registry.journal import Journal, journals
from ratchet.components.registry.outage import ask, is_outage
from ratchet.components.registry.sending import send
from ratchet.components.storage.home import Home
from ratchet.components.text import redacted


class SentFigures(NamedTuple):
    """What MLflow got, and what it did not."""

    records: int  # sent
    runs: int  # that these are of
    left: int  # runs with records that MLflow does not have yet


def send_journals(home: Home, say: Callable[[str], None]) -> SentFigures:
    """Send what is unsent of all runs of a project that are over, killed ones and those of other models too.

    What cannot be sent is reported and stays; if MLflow does not answer, so does the rest. A run in progress, here or on
    another machine, sends its own figures, and is left alone.
    """
    found = journals(home.journals, home.locks)
    if not found:
        return SentFigures(0, 0, 0)
    ledger, locks, counts = Ledger(home.ledger, say=say), Locks(home.locks, say), list[int]()
    over = [journal for journal in found if is_over(journal, ledger, locks)]
    for journal in over:
        try:
            counts.append(send_journal(journal, home, ledger, locks, say))
        except Exception as error:
            say(f"figures of an earlier run stay in {journal.file}, not sent to MLflow: {redacted(str(error))[:200]}")
            if is_outage(error):
                break
    if any(counts):
        say(f"sent {sum(counts)} records of {sum(map(bool, counts))} earlier runs to MLflow")
    return SentFigures(sum(counts), sum(map(bool, counts)), len(over) - len(counts))


def is_over(journal: Journal, ledger: Ledger, locks: Locks) -> bool:
    """Whether no process may add to a journal: by this machine's lock, and by the claims of all machines."""
    with locks.idle(journal.name) as idle:
        return idle and journal.name not in map(lock_name, ledger.unended())


def send_journal(journal: Journal, home: Home, ledger: Ledger, locks: Locks, say: Callable[[str], None] = silent) -> int:
    """Send what is unsent of one run, and delete its journal if that is over; returns the number of records sent.

    Raises:
        StoreError: if the journal is damaged.
        Exception: what MLflow's client raises.
    """
    count = 0
    if next(journal.unsent(), None) is not None:
        ask(home.tracking_uri)
        count = send(journal, cache(lambda model: open_tracker(home, locks, model)), ledger.name_run, say)
    if is_over(journal, ledger, locks):
        journal.drop_if_sent()
    return count
