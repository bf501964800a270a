"""Promotions that were cut short: the ledger has them, and MLflow's alias has yet to follow."""

from collections.abc import Callable

from ratchet.components.errors import PendingAliasError
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.promotion import reconcile
from ratchet.components.project.locks import Locks
from ratchet.components.project.project import open_tracker
from ratchet.components.registry.outage import ask
from ratchet.components.storage.home import Home
from ratchet.components.text import redacted


def complete_promotions(home: Home, say: Callable[[str], None]) -> None:
    """Move the aliases that a killed process left, or that MLflow refused to move; what cannot be moved is said, and stays."""
    ledger, locks = Ledger(home.ledger, say=say), Locks(home.locks, say)
    for model, champion in ledger.pending().items():
        try:
            ask(home.tracking_uri)
            tracker = open_tracker(home, locks, model)
            with promotion_lease(ledger, model):
                reconcile(ledger, tracker, model)
        except PendingAliasError as error:
            say(str(error))
        except Exception as error:  # MLflow's client raises its own
            reason = redacted(str(error))[:500]
            say(f"version {champion.version} of {model} is champion, and MLflow's alias has yet to follow: {reason}")
        else:
            say(f"MLflow's alias champion of {model} is at the ledger's version now: its promotion had been cut short")
