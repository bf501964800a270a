"""Figures of runs that are over, which MLflow does not have yet: sent at the start of a run, and by ``ratchet reconcile``."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ratchet.components.home import Home
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.registry.journal import Journal, journals
from ratchet.components.registry.outage import ask, is_outage
from ratchet.components.registry.sending import send
from ratchet.components.run.locks import Locks, silent
from ratchet.components.run.project import Project, open_tracker
from ratchet.components.text import redacted


class SentFigures(NamedTuple):
    """What MLflow got, and what it did not."""

    records: int  # sent
    runs: int  # that these are of
    left: int  # runs with records that MLflow does not have yet


def send_journals(project: Project, say: Callable[[str], None]) -> SentFigures:
    """Send what is unsent of all runs of a project that are over, killed ones and those of other models too.

    What cannot be sent is reported and stays. A run in progress sends its own figures, and is left alone.
    """
    home, locks, records, runs, left = project.home, project.locks, 0, 0, 0
    for journal in journals(home.journals, home.leases):
        with locks.idle(journal.name) as over:
            pass
        if not over:
            continue
        try:
            count = send_journal(journal, home, project.ledger, locks, say)
            records, runs = records + count, runs + (count > 0)
        except Exception as error:
            left += 1
            if left == 1 or not is_outage(error):
                say(f"figures of an earlier run stay in {journal.file}, not sent to MLflow: {redacted(str(error))[:200]}")
    if records:
        say(f"sent {records} records of {runs} earlier runs to MLflow")
    return SentFigures(records, runs, left)


def send_journal(journal: Journal, home: Home, ledger: Ledger, locks: Locks, say: Callable[[str], None] = silent) -> int:
    """Send what is unsent of one run, and delete its journal if no process adds to it; returns the number of records sent.

    Raises:
        StoreError: if the journal is damaged.
        Exception: what MLflow's client raises.
    """
    count = 0
    if next(journal.unsent(), None) is not None:
        ask(home.tracking_uri)
        count = send(journal, cache(lambda model: open_tracker(home, locks, model)), ledger.name_run, say)
    with locks.idle(journal.name) as over:
        if over:
            journal.drop_if_sent()
    return count
