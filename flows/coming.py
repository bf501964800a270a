"""When this machine's schedules run next. `ratchet schedule` notes what it serves beside the lock that it holds meanwhile."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ratchet.components.errors import RatchetError, RecipeError, StoreError
from ratchet.components.inspection.overview import Slot
from ratchet.components.recipe import Recipe, Schedule
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.home import Home
from ratchet.flows.servers.api_token import folder

ATTEMPTS, PAUSE = 10, 0.1  # seconds between: `ratchet status` holds the lock for a moment when it looks


@contextmanager
def sole_schedule(home: Home, name: str, rules: Schedule) -> Iterator[None]:
    """Reject a second schedule of a recipe: the first of the two to end would pause the deployment of both.

    Raises:
        RatchetError: if another process has it.
    """
    place = folder(home) / f"schedule-{name}.lock"
    with place.open("a") as lock:
        for attempt in range(ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == ATTEMPTS - 1:
                    holder = _holder(place.with_suffix(".json"))
                    raise RatchetError(f"{holder} schedules {name} in this project. Stop that first.") from None
                time.sleep(PAUSE)
        write_json(place.with_suffix(".json"), {"model": name, "rules": rules.model_dump(mode="json"), "process": os.getpid()})
        yield


def _holder(note: Path) -> str:
    """The process that a note names; a release that named none may hold the lock."""
    try:
        return f"process {int(read_json(note)['process'])}"
    except (StoreError, KeyError, TypeError, ValueError):
        return "another process"


def coming(home: Home, recipe: Recipe | None, now: datetime | None = None) -> list[Slot]:
    """The next slot of each recipe that a process of this machine schedules, and of ``recipe``, if it has a schedule."""
    served = {note["model"]: Schedule.model_validate(note["rules"]) for note in map(read_json, _held(home))}
    slots = [_slot(model, rules, True, now) for model, rules in served.items()]
    if recipe is not None and recipe.schedule.rules and recipe.name not in served:
        slots.append(_slot(recipe.name, recipe.schedule, False, now))
    return slots


def _held(home: Home) -> Iterator[Path]:
    """Notes whose process lives: it holds the lock beside."""
    for note in sorted((home.state / "server").glob("schedule-*.json")):
        with note.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield note


def _slot(model: str, rules: Schedule, served: bool, now: datetime | None) -> Slot:
    ((kind, text),) = rules.rules.items()
    return Slot(model, _next(rules, now or datetime.now(UTC)), f"{kind} {text} ({rules.timezone})", served)


def _next(rules: Schedule, now: datetime) -> str | None:
    """In ISO 8601; None if the rule gives no date any more. Prefect enumerates dates, and importing it takes a second."""
    from ratchet.flows.dates import dates_of, schedule_of

    try:
        (found,) = dates_of(schedule_of(rules), now, None)
    except RecipeError:
        return None
    return found.isoformat()
