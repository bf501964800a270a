"""Whether a project stands still: no run finished, or no version was promoted, for a set time. Each standstill is told once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ratchet.components.files import read_json, write_json
from ratchet.components.home import Home
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe
from ratchet.components.recipe.notify import Notification
from ratchet.components.run.notice import Notice
from ratchet.components.run.told import Told

TOLD_FILE = "stale.json"  # in the state: what was told, by model, receiver and kind, and since when it stands still
NEXT = "See `ratchet status` and `ratchet history`, and whether the schedule or the worker runs."


def standstills(
    home: Home, ledger: Ledger, recipe: Recipe, moment: datetime | None = None
) -> Iterator[tuple[Notification, Notice]]:
    """What is to be told now, and to whom; noted as told once it was taken.

    Args:
        moment: now.
    """
    moment = moment or datetime.now(UTC)
    path = home.state / TOLD_FILE
    for entry in recipe.notify:
        limits = {"finished a run": entry.hours_without_run, "promoted a version": entry.hours_without_promotion}
        for what, hours in limits.items():
            since = hours and _last(ledger, recipe.name, what)
            if not since or moment - datetime.fromisoformat(since) < timedelta(hours=hours or 0):
                continue
            told, key = read_json(path) if path.exists() else {}, f"{recipe.name} {entry.to} {what}"
            if told.get(key) != since:
                yield entry, _notice(recipe.name, what, since, hours or 0)
                write_json(path, {**told, key: since})


def _last(ledger: Ledger, model: str, what: str) -> str | None:
    """When it last happened, or the model's first run began; None before that."""
    runs = ledger.times_of_runs(model)
    promoted = [row.at for row in ledger.history(model)]
    times = promoted if what == "promoted a version" else [finished for _, finished in runs if finished is not None]
    return max(times, default=runs[0][0] if runs else None)


def _notice(model: str, what: str, since: str, hours: float) -> Notice:
    return Notice(
        "stale", model, Told(f"No process has {what} of {model} since {since}.", "", f"The limit is {hours:g} h.", NEXT)
    )
