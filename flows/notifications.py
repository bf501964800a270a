"""Tell Prefect's automations and the receivers of the recipe what happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.blocks.core import Block

from ratchet.components.home import Home
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe
from ratchet.components.recipe.notify import Notification
from ratchet.components.run.delivery import delivered, send
from ratchet.components.run.notice import Notice, failure
from ratchet.components.run.stale import standstills
from ratchet.flows.cli.views.console import say
from ratchet.flows.events import emit


def tell_all(notice: Notice | None, recipe: Recipe) -> None:
    """An event, and a notification to each receiver that wants it; one that cannot be delivered is reported here alone."""
    if notice is None:
        return
    emit(notice)
    for entry in recipe.notify:
        if notice.occasion in entry.on:
            deliver(entry, notice)


def standstills_told(home: Home, ledger: Ledger, recipe: Recipe) -> None:
    """Tell that no run finished, or no version was promoted, for longer than the recipe allows; each standstill once."""
    for entry, notice in standstills(home, ledger, recipe):
        emit(notice)
        deliver(entry, notice)


def deliver(entry: Notification, notice: Notice) -> None:
    """Deliver, or report why not."""
    reason = delivered(lambda: _to_block(entry.block, notice) if entry.block else send(entry, notice))
    if reason is not None:
        say(f"could not notify {entry.to} that {notice.title}: {reason}")


def _to_block(name: str, notice: Notice) -> None:
    import prefect.blocks.notifications  # noqa: F401 - registers the blocks

    block: Any = Block.load(name)
    block.notify(body=notice.text, subject=notice.title)


@contextmanager
def failures_told(recipe: Recipe) -> Iterator[None]:
    """Tell of an error that leaves the block."""
    try:
        yield
    except Exception as error:
        tell_all(failure(recipe.name, error), recipe)
        raise
