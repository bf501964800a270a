"""Tell Prefect's automations and the receivers of the recipe what happened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.blocks.core import Block

from ratchet.components.errors import ClaimLostError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.notices.delivery import delivered, send
from ratchet.components.notices.notice import Notice, failure
from ratchet.components.notices.stale import standstills
from ratchet.components.recipe import Recipe
from ratchet.components.recipe.notify import Notification
from ratchet.components.run.failures import forget_failure, note_failure
from ratchet.components.storage.home import Home
from ratchet.flows.cli.views.console import say
from ratchet.flows.events import emit

Tell = Callable[[Notice | None], None]


def tell_all(notice: Notice | None, recipe: Recipe) -> None:
    """An event, and a notification to each receiver that wants it; one that cannot be delivered is reported here alone."""
    if notice is None:
        return
    emit(notice)
    for entry in recipe.notify:
        if notice.occasion in entry.on:
            deliver(entry, notice)


def standstills_told(home: Home, ledger: Ledger, recipe: Recipe) -> None:
    """Tell that no run finished, or no version was promoted, for longer than the recipe allows.

    Each receiver is told of a standstill once; one that could not be reached is told the next time.
    """
    for found in standstills(home, ledger, recipe):
        if found.is_new:
            emit(found.notice)
        if deliver(found.entry, found.notice):
            found.note()


def deliver(entry: Notification, notice: Notice) -> bool:
    """Deliver, or report why not; whether it was delivered."""
    reason = delivered(lambda: _to_block(entry.block, notice) if entry.block else send(entry, notice))
    if reason is not None:
        say(f"could not notify {entry.to} that {notice.title}: {reason}")
    return reason is None


def _to_block(name: str, notice: Notice) -> None:
    import prefect.blocks.notifications  # noqa: F401 - registers the blocks

    block: Any = Block.load(name)
    block.notify(body=notice.text, subject=notice.title)


@contextmanager
def told_once(home: Home, recipe: Recipe) -> Iterator[Tell]:
    """Within the block, tell how the run ended; an error that leaves it is told unless that was.

    The error is also kept for ``ratchet status``. A run that another process took over did not fail.
    """
    told: list[Notice | None] = []

    def tell(notice: Notice | None) -> None:
        told.append(notice)
        forget_failure(home, recipe.name)
        tell_all(notice, recipe)

    try:
        yield tell
    except ClaimLostError:
        raise
    except Exception as error:
        note_failure(home, recipe.name, error)
        if not told:
            tell_all(failure(recipe.name, error), recipe)
        raise
