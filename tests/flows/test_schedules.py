"""What serving needs of the flow."""

import cloudpickle
from prefect.schedules import Schedule

from ratchet.flows.finetune import finetune
from ratchet.flows.schedules import schedule_of


def test_the_flow_can_be_pickled_for_its_process() -> None:
    assert cloudpickle.dumps(finetune)


def test_schedules_are_in_utc() -> None:
    for schedule in (schedule_of("0 2 * * *", None), schedule_of(None, 900.0)):
        assert isinstance(schedule, Schedule)
        assert schedule.timezone == "UTC"
