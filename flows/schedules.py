"""Schedules: serve the flow from this machine. Work pools are in prefect.yaml."""

from typing import Any

from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType

from ratchet.flows.finetune import finetune
from ratchet.flows.serving import Serving, serve_until_stopped


def schedule_of(cron: str | None, seconds: float | None) -> Schedule:
    """A schedule in UTC."""
    if cron is not None:
        return Cron(cron, timezone="UTC")
    assert seconds is not None
    return Interval(seconds, timezone="UTC")


def serve_flow(name: str, recipe: str, overrides: list[str], cron: str | None, seconds: float | None) -> None:
    """Serve one deployment until stopped; one run at a time; later ones wait."""
    runner = Serving()
    served: Any = runner.add_flow(  # a coroutine only in a running loop
        finetune,
        name=name,
        schedule=schedule_of(cron, seconds),
        parameters={"recipe": recipe, "overrides": overrides},
        tags=["ratchet"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    serve_until_stopped(runner, [served])
