"""The dates of schedules, and which of them are caught up after this machine's schedule was stopped."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock
from uuid import uuid4

import cloudpickle
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events import DeploymentEventTrigger, ResourceSpecification

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Schedule
from ratchet.flows import missed
from ratchet.flows.cli.schedule import chosen, ruled
from ratchet.flows.dates import dates_of
from ratchet.flows.finetune import finetune
from ratchet.flows.missed import MOST, missed_slots
from ratchet.flows.schedules import schedule_of
from tests.places import MICRO, ROOT

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)  # in Vienna it is 14:00


def dates(hours: float = 24, **rules: str) -> list[str]:
    schedule = schedule_of(Schedule.model_validate(rules))
    return [date.strftime("%dT%H:%M:%S") for date in dates_of(schedule, NOON, NOON + timedelta(hours=hours))]


def test_the_flow_can_be_pickled_for_its_process() -> None:
    assert cloudpickle.dumps(finetune)


def test_each_kind_of_rule_gives_its_dates_in_utc() -> None:
    assert dates(cron="0 2 * * *") == ["02T02:00:00"]
    assert dates(cron="0 2 * * *", timezone="Europe/Vienna") == ["02T00:00:00"]
    assert dates(every="6h") == ["01T12:00:00", "01T18:00:00", "02T00:00:00", "02T06:00:00", "02T12:00:00"]
    assert dates(0.01, every="20s") == ["01T12:00:00", "01T12:00:20"]
    assert dates(rrule="FREQ=WEEKLY;BYDAY=TH;BYHOUR=2;BYMINUTE=0;BYSECOND=0") == ["02T02:00:00"]


@pytest.mark.parametrize("midnight", [datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)])
def test_an_interval_has_one_slot_a_day_whenever_prefect_looks_while_clocks_change(midnight: datetime) -> None:
    made = schedule_of(Schedule(every="1d"))
    looks = [midnight + timedelta(hours=hour, minutes=5) for hour in range(72)]
    found = {date for look in looks for date in dates_of(made, look, look + timedelta(days=1))}
    assert sorted(found) == [midnight + timedelta(days=number) for number in (1, 2, 3)]


def test_an_interval_of_the_command_line_takes_the_place_of_the_zone_too(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(MICRO.read_text() + 'schedule: {cron: "0 2 * * *", timezone: Europe/Vienna}\n')
    assert ruled(recipe, [], {"cron": "0 3 * * *"}).schedule.timezone == "Europe/Vienna"
    assert ruled(recipe, [], {"every": "6h"}).schedule.timezone == "UTC"
    with pytest.raises(RecipeError, match="every is counted in UTC"):
        ruled(recipe, [], {"every": "6h", "timezone": "Europe/Vienna"})


@pytest.mark.parametrize("rules", [{"cron": "0 99 * * *"}, {"rrule": "FREQ=NEVER"}])
def test_a_rule_without_dates_is_an_error_that_names_it(rules: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match=f"schedule.{next(iter(rules))} .* gives no dates"):
        schedule_of(Schedule.model_validate(rules))


def test_slots_since_the_last_one_are_caught_up_by_the_rules() -> None:
    every = [NOON + timedelta(hours=hour) for hour in range(200)]
    last, now = every[1], every[150] + timedelta(minutes=1)
    assert missed_slots(every, last, now, Schedule()) == [every[150]]
    assert missed_slots(every, last, now, Schedule(missed="all")) == every[150 - MOST + 1 : 151]
    assert missed_slots(every, last, now, Schedule(missed="none")) == []
    assert missed_slots(every, every[150], now, Schedule(missed="all")) == []
    assert missed_slots(every, None, now, Schedule()) == []  # the first start


def test_after_a_long_outage_the_newest_missed_slot_is_the_last_one() -> None:
    last, now = NOON - timedelta(hours=48, seconds=30), NOON + timedelta(seconds=30)
    for rules in (Schedule(every="1m"), Schedule(cron="* * * * *"), Schedule(cron="* * * * *", timezone="Europe/Vienna")):
        found = dates_of(schedule_of(rules), last, now)
        assert found == [NOON + timedelta(minutes=minute) for minute in range(-48 * 60, 1)]
        assert missed_slots(found, last, now, rules) == [NOON]


def test_the_newest_slot_is_found_behind_any_number_of_runs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [FlowRun(flow_id=uuid4(), auto_scheduled=False, expected_start_time=NOON) for _ in range(2 * missed.RUNS + 1)]
    runs += [FlowRun(flow_id=uuid4(), auto_scheduled=True, expected_start_time=NOON - timedelta(hours=n)) for n in (1, 2)]
    client = mock.create_autospec(SyncPrefectClient, instance=True)
    client.read_flow_runs.side_effect = lambda *, flow_run_filter, sort, limit, offset: runs[offset : offset + limit]
    assert missed._newest(client, uuid4(), NOON) == NOON - timedelta(hours=1)
    del runs[-2:]
    assert missed._newest(client, uuid4(), NOON) is None


def test_options_take_the_place_of_the_recipes_rule(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(MICRO.read_text() + 'schedule: {cron: "0 2 * * *", missed: all, timezone: Europe/Vienna}\n')
    assert ruled(recipe, [], {}).schedule.rules == {"cron": "0 2 * * *"}
    given = ruled(recipe, [], {"every": "6h"}).schedule
    assert (given.rules, given.missed) == ({"every": "6h"}, "all")
    with pytest.raises(RecipeError, match="cron and every are given"):
        ruled(recipe, [], {"every": "6h", "cron": "0 3 * * *"})
    with pytest.raises(RecipeError, match="has no schedule"):
        ruled(MICRO, [], {})


def test_several_recipes_each_once() -> None:
    assert chosen([Path("a.yaml"), Path("b.yaml"), Path("a.yaml")]) == [Path("a.yaml"), Path("b.yaml")]


def test_the_documented_trigger_is_one_of_prefects() -> None:
    text = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n# prefect.yaml: .*?\n(.*?)```", text, re.DOTALL)
    (trigger,) = yaml.safe_load(block)["triggers"]
    found = DeploymentEventTrigger.model_validate(trigger)
    assert found.expect == {"prefect.flow-run.Completed"}
    assert isinstance(found.match_related, ResourceSpecification)
    assert found.match_related["prefect.resource.name"] == ["export-chats"]
