"""Schedules: serve the flow from this machine. Work pools are in prefect.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import schedules as prefect
from prefect.types.entrypoint import EntrypointType

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Schedule, seconds_of
from ratchet.flows.cli.views.console import say
from ratchet.flows.dates import dates_of
from ratchet.flows.finetune import finetune
from ratchet.flows.missed import catch_up
from ratchet.flows.serving import Serving, serve_until_stopped


@dataclass(frozen=True)
class Served:
    """A recipe and its schedule."""

    name: str
    recipe: str  # path
    overrides: list[str]
    rules: Schedule


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


def serve_flows(served: Sequence[Served], limit: int) -> None:
    """Serve a deployment per recipe until stopped; the runner starts waiting runs oldest first.

    Args:
        limit: of runs at once.
    """
    runner = Serving(limit)
    deployments = [_deployed(runner, one) for one in served]
    serve_until_stopped(runner, deployments)


def _deployed(runner: Serving, served: Served) -> UUID:
    schedule = schedule_of(served.rules)
    deployment: Any = runner.add_flow(  # a coroutine only in a running loop
        finetune,
        name=served.name,
        schedule=schedule,
        parameters={"recipe": served.recipe, "overrides": served.overrides},
        tags=["ratchet"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    for slot in catch_up(deployment, schedule, served.rules):
        say(f"{served.name}: slot {slot} was missed, and runs now")
    (following,) = dates_of(schedule, datetime.now(UTC), None)
    say(f"{served.name}: the next slot is {following:%Y-%m-%d %H:%M:%S} UTC")
    return UUID(str(deployment))
