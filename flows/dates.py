"""The dates of schedules, which Prefect's client cannot enumerate."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import schedules as prefect
from prefect.client.schemas.schedules import SCHEDULE_TYPES, construct_schedule
from prefect.schedules import Schedule

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Schedule as Rules
from ratchet.components.recipe import seconds_of


def schedule_of(rules: Rules) -> Schedule:
    """The schedule of a recipe that has a rule. An interval is counted from 1970 in UTC, so that no restart moves its slots.

    Raises:
        RecipeError: if Prefect does not take the rule.
    """
    zone: Any = {"timezone": rules.timezone}
    try:
        if rules.cron is not None:
            made = prefect.Cron(rules.cron, **zone)
        elif rules.rrule is not None:
            made = prefect.RRule(rules.rrule, **zone)
        else:
            assert rules.every is not None
            made = prefect.Interval(seconds_of(rules.every), anchor_date=datetime(1970, 1, 1, tzinfo=UTC), **zone)
        dates_of(made, datetime.now(UTC), None)
    except (ValueError, TypeError) as error:  # pydantic's errors are of the former kind
        ((key, text),) = rules.rules.items()
        raise RecipeError(
            f"schedule.{key} {text!r} gives no dates: {error}. Correct it; docs/schedules.md has examples."
        ) from error
    return made


def in_file(schedule: Schedule) -> dict[str, Any]:
    """A schedule as prefect.yaml has it."""
    if schedule.interval is not None:
        rule = {"interval": schedule.interval.total_seconds(), "anchor_date": schedule.anchor_date.isoformat()}
    else:
        rule = {"cron": schedule.cron} if schedule.cron is not None else {"rrule": schedule.rrule}
    return {**rule, "timezone": schedule.timezone}


def dates_of(schedule: Schedule, start: datetime, end: datetime | None) -> list[datetime]:
    """The dates of a schedule from ``start`` to ``end``, in UTC; the first alone without an end.

    Raises:
        ValueError: if the rule is not one, or has no date any more.
    """
    made = construct_schedule(
        interval=schedule.interval,
        anchor_date=schedule.anchor_date if schedule.interval is not None else None,
        cron=schedule.cron,
        rrule=schedule.rrule,
        timezone=schedule.timezone,
    )
    found = _enumerated(made, start, end)
    if not found and end is None:
        raise ValueError("it ends in the past")
    page = found if end is not None else []
    while page:  # Prefect gives at most a thousand at once
        last = page[-1]
        page = [date for date in _enumerated(made, last + timedelta(seconds=1), end) if date > last]
        found += page
    return found


def next_date(schedules: Iterable[SCHEDULE_TYPES], slot: datetime) -> datetime | None:
    """The first date of several schedules after a slot, in UTC."""
    following = [date for one in schedules for date in _enumerated(one, slot + timedelta(seconds=1), None)]
    return min(following, default=None)


def _enumerated(schedule: SCHEDULE_TYPES, start: datetime, end: datetime | None) -> list[datetime]:
    from prefect.server.schemas import schedules as server

    kind = getattr(server, type(schedule).__name__)
    found = asyncio.run(
        kind.model_validate(schedule.model_dump()).get_dates(n=1 if end is None else None, start=start, end=end)
    )
    return [date.astimezone(UTC) for date in found]
