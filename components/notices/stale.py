"""Whether a project stands still: no run finished, or no version was promoted, for a set time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ratchet.components.ledger.ledger import Ledger
from ratchet.components.notices.notice import Notice
from ratchet.components.recipe import Recipe
from ratchet.components.recipe.notify import Notification
from ratchet.components.run.told import Told
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.home import Home

TOLD_FILE = "stale.json"  # in the state: what was told, by model, receiver and limit, and since when it stands still
NEXT = "See `ratchet status` and `ratchet history`, and whether the schedule or the worker runs."


@dataclass(frozen=True)
class Standstill:
    """A standstill of which a receiver was not told yet. ``is_new`` of one receiver: the first that is to be told of it."""

    entry: Notification
    notice: Notice
    is_new: bool
    key: str
    since: str
    file: Path

    def note(self) -> None:
        """Do not tell this receiver again."""
        write_json(self.file, {**_noted(self.file), self.key: self.since})


def standstills(home: Home, ledger: Ledger, recipe: Recipe, moment: datetime | None = None) -> Iterator[Standstill]:
    """What is to be told now, and to whom.

    Args:
        moment: now.
    """
    moment, file = moment or datetime.now(UTC), home.state / TOLD_FILE
    for entry in recipe.notify:
        limits = {"finished a run": entry.hours_without_run, "promoted a version": entry.hours_without_promotion}
        for what, hours in limits.items():
            since = hours and _last(ledger, recipe.name, what)
            if not hours or not since or moment - datetime.fromisoformat(since) < timedelta(hours=hours):
                continue
            noted, limit = _noted(file), f"{recipe.name}: {what} within {hours:g} h"
            if noted.get(key := f"{limit}: {entry.to}") != since:
                is_new = all(known != since for name, known in noted.items() if name.startswith(limit))
                yield Standstill(entry, _notice(recipe.name, what, since, hours), is_new, key, since, file)


def _noted(file: Path) -> dict[str, str]:
    return dict(read_json(file)) if file.exists() else {}


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
