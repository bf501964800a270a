"""Slots that came due while this machine's schedule was stopped: Prefect does not know them, since it was paused or down."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterExpectedStartTime
from prefect.client.schemas.sorting import FlowRunSort
from prefect.schedules import Schedule
from prefect.states import Scheduled

from ratchet.components.recipe import Schedule as Rules
from ratchet.components.scheduling.turns import named
from ratchet.flows.dates import dates_of
from ratchet.flows.turns import CAUGHT_UP, of_schedule

RUNS = 200  # per request, which is Prefect's limit; those begun by hand are among them
MOST = 100  # slots that are caught up after one outage, the newest


def catch_up(deployment: UUID, schedule: Schedule, rules: Rules) -> list[str]:
    """Create flow runs for the slots since the newest one that Prefect created, by ``schedule.missed``; returns them.

    A first start misses nothing.
    """
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        last = _newest(client, deployment, now)
        missed = missed_slots(dates_of(schedule, last, now) if last else [], last, now, rules)
        for slot in missed:
            client.create_flow_run_from_deployment(
                deployment,
                tags=["ratchet", CAUGHT_UP],
                state=Scheduled(scheduled_time=slot),
                idempotency_key=f"ratchet {deployment} {named(slot)}",
            )
    return [named(slot) for slot in missed]


def missed_slots(dates: Sequence[datetime], last: datetime | None, now: datetime, rules: Rules) -> list[datetime]:
    """Which of a schedule's dates are caught up.

    Args:
        last: the newest slot that has a flow run; None at the first start.
    """
    if last is None or rules.missed == "none":
        return []
    missed = [date for date in dates if last < date <= now]
    return missed[-MOST:] if rules.missed == "all" else missed[-1:]


def _newest(client: SyncPrefectClient, deployment: UUID, now: datetime) -> datetime | None:
    before = FlowRunFilterExpectedStartTime.model_validate({"before_": now})
    due = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]), expected_start_time=before)
    newest_first = partial(client.read_flow_runs, flow_run_filter=due, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=RUNS)
    offset = 0
    while found := newest_first(offset=offset):
        if slots := [run for run in found if of_schedule(run)]:
            return slots[0].expected_start_time
        offset += len(found)
    return None
