"""The dates of a recipe's schedule, by Prefect, which makes the flow runs."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from prefect import schedules as prefect
from prefect.client.schemas.schedules import construct_schedule

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Schedule, seconds_of


def schedule_of(rules: Schedule) -> prefect.Schedule:
    """The schedule of a recipe that has a rule. An interval is counted from 1970, so that a restart does not move its slots.

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
            made = prefect.Interval(
                seconds_of(rules.every), anchor_date=datetime(1970, 1, 1, tzinfo=ZoneInfo(rules.timezone)), **zone
            )
        dates_of(made, datetime.now(UTC), None)
    except (ValueError, TypeError) as error:  # pydantic's errors are of the former kind
        ((key, text),) = rules.rules.items()
        raise RecipeError(
            f"schedule.{key} {text!r} gives no dates: {error}. Correct it; docs/schedules.md has examples."
        ) from error
    return made


def dates_of(schedule: prefect.Schedule, start: datetime, end: datetime | None) -> list[datetime]:
    """The dates of a schedule from ``start`` to ``end``, in UTC; the first alone without an end.

    Raises:
        ValueError: if the rule is not one.
    """
    from prefect.server.schemas import schedules as server  # Prefect's client cannot enumerate dates

    made = construct_schedule(
        interval=schedule.interval,
        anchor_date=schedule.anchor_date if schedule.interval is not None else None,
        cron=schedule.cron,
        rrule=schedule.rrule,
        timezone=schedule.timezone,
    )
    kind = getattr(server, type(made).__name__)
    found = asyncio.run(kind.model_validate(made.model_dump()).get_dates(n=1 if end is None else None, start=start, end=end))
    if not found and end is None:
        raise ValueError("it ends in the past")
    return [date.astimezone(UTC) for date in found]
