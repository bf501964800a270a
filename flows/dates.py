"""The dates of schedules, which Prefect's client cannot enumerate."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from prefect.client.schemas.schedules import SCHEDULE_TYPES, construct_schedule
from prefect.schedules import Schedule


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
