"""Schedules: serve the flow from this machine. Work pools are in prefect.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.types.entrypoint import EntrypointType

from ratchet.components.recipe import Schedule
from ratchet.flows.cli.views.console import say
from ratchet.flows.dates import dates_of, schedule_of
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
