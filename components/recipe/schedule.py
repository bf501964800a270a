"""The section ``schedule``: when the recipe runs by itself, and what becomes of slots that overlap or were missed."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, model_validator

from ratchet.components.recipe.base import Count, Section

INTERVAL = re.compile(r"([1-9][0-9]{0,8})([smhd])")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(every: str) -> float:
    """Seconds of an interval such as ``15m``.

    Raises:
        ValueError: if it is not one.
    """
    match = INTERVAL.fullmatch(every)
    if match is None:
        raise ValueError(f"{every!r} is not an interval; write, for example, 15m, 6h or 1d")
    return float(int(match[1]) * UNITS[match[2]])


def _interval(every: str) -> str:
    seconds_of(every)
    return every


def _cron(text: str) -> str:
    if len(text.split()) != 5:
        raise ValueError(f'{text!r} does not have five fields; write, for example, "0 2 * * *"')
    return text


def _rrule(text: str) -> str:
    """Prefect and dateutil read the rest; a number of occurrences would be counted again at each look."""
    if "FREQ=" not in text.upper() or re.search(r"\bCOUNT=", text.upper()):
        raise ValueError(
            f"{text!r} is not an RRULE without COUNT; write, for example, FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=2;BYMINUTE=0"
        )
    if re.search(r"\bFREQ=(MINUTELY|SECONDLY)\b", text.upper()):  # each look at it would walk all dates since 2020
        raise ValueError(f"{text!r} repeats too often for an RRULE; write every, such as every: 15m")
    return text


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write a name such as UTC or Europe/Vienna") from None
    return name


class When(Section):
    """What must have happened since the newest run for a slot to run; all that is given must hold."""

    new_data: bool = False  # the source's files, the version in data.dvc, or the section data changed
    min_new_rows: Count | None = None  # the source has at least this many more rows
    enough_rows: bool = False  # new rows would let the gate detect gate.rules.target_effect


class Schedule(Section):
    """When the recipe runs by itself. Enters neither a run's identity nor a stage's key."""

    cron: Annotated[str, AfterValidator(_cron)] | None = None  # such as 0 2 * * *
    every: Annotated[str, AfterValidator(_interval)] | None = None  # 15m, 6h, 1d; counted from 1970-01-01 00:00 UTC
    # Such as FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=2;BYMINUTE=0;BYSECOND=0.
    rrule: Annotated[str, AfterValidator(_rrule)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"  # time zone of cron and rrule
    overlap: Literal["queue", "skip", "latest"] = "queue"  # for a slot that comes due while a run of the recipe is in progress
    missed: Literal["latest", "all", "none"] = "latest"  # what happens to a slot that comes due while nothing can run it
    when: When = When()

    @model_validator(mode="after")
    def _one_rule(self) -> "Schedule":
        if len(self.rules) > 1:
            raise ValueError(f"{' and '.join(self.rules)} are given; keep one of them")
        if self.every is not None and self.timezone != "UTC":
            raise ValueError(
                f"every is counted in UTC and takes no timezone, but that is {self.timezone}; remove it, or write the times "
                'as cron, such as "0 2 * * *", which follows the clock of the zone'
            )
        return self

    @property
    def rules(self) -> dict[str, str]:
        """The rule that gives the slots, if there is one, by its key."""
        found = {"cron": self.cron, "every": self.every, "rrule": self.rrule}
        return {name: text for name, text in found.items() if text is not None}
