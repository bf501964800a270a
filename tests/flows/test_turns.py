"""What a flow run asks of Prefect before it begins; Prefect's client is a fake."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import Pause
from prefect.states import AwaitingRetry, Completed, Crashed, Pending, Running, Scheduled

from ratchet.components.errors import RecipeError
from ratchet.components.ledger import slots
from ratchet.components.project.project import Project
from ratchet.components.scheduling.logical_dates import slot_of
from ratchet.components.scheduling.turns import Phase
from ratchet.flows import turns
from tests.run.runs import claim_of, new_project

DEPLOYMENT = uuid4()
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)


def flow_run(hour: int, state: State[Any], started: float | None = None) -> FlowRun:
    values: Any = {
        "expected_start_time": HOUR + timedelta(hours=hour),
        "start_time": None if started is None else HOUR + timedelta(hours=started),
    }
    return FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        deployment_id=DEPLOYMENT,
        auto_scheduled=True,
        state=state,
        **values,
    )


class FakePrefect:
    """The flow runs of one deployment, and the histories of those that have one."""

    def __init__(self, *runs: FlowRun, **histories: list[State[Any]]) -> None:
        self.runs, self.histories = {run.id: run for run in runs}, histories
        self.set: dict[UUID, State[Any]] = {}

    def __enter__(self) -> "FakePrefect":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_runs(self, **_: Any) -> list[FlowRun]:
        return list(self.runs.values())

    def read_flow_run(self, run: UUID) -> FlowRun:
        return self.runs[run]

    def read_flow_run_states(self, run: UUID) -> list[State[Any]]:
        return self.histories.get(str(run), [])

    def set_flow_run_state(self, run: UUID, state: State[Any], force: bool = False) -> None:
        self.set[run] = state


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path, "schedule.missed=all")


def not_now(monkeypatch: pytest.MonkeyPatch, project: Project, prefect: FakePrefect, mine: FlowRun) -> State[Any] | None:
    monkeypatch.setattr(turns, "get_client", lambda **_: prefect)
    return turns.not_now(project, turns.logical_date(mine), mine)


def test_the_newest_of_two_missed_slots_ends_the_other_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, newest = flow_run(1, Scheduled()), flow_run(2, Pending())
    prefect = FakePrefect(late, newest)
    assert not_now(monkeypatch, new_project(tmp_path), prefect, newest) is None
    ((ended, state),) = prefect.set.items()
    assert (ended, state.name, state.is_completed()) == (late.id, "Skipped", True)
    assert str(state.message).endswith("schedule.missed is latest")


def test_a_missed_slot_that_begins_is_skipped_and_its_record_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, project = flow_run(1, Running()), new_project(tmp_path)
    slot = slot_of(project.recipe, turns.logical_date(late))
    claim = claim_of(project)
    slots.take(project.ledger, slot, claim.run, None)
    claim._release()
    state = not_now(monkeypatch, project, FakePrefect(late, flow_run(2, Scheduled())), late)
    assert state is not None
    assert (state.name, state.is_completed()) == ("Skipped", True)
    assert slots.abandoned(project.ledger) == []


@pytest.mark.parametrize(("active", "name"), [(True, "Skipped"), (False, None)])
def test_a_missed_slot_whose_successor_prefect_has_not_made_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: bool, name: str | None
) -> None:
    late = flow_run(0, Running())  # three hours late
    prefect = FakePrefect(late)
    hourly = SimpleNamespace(schedule=IntervalSchedule(interval=timedelta(hours=1)), active=active)
    prefect.__dict__["read_deployment"] = lambda _: SimpleNamespace(schedules=[hourly])
    state = not_now(monkeypatch, new_project(tmp_path, "schedule.missed=none"), prefect, late)
    assert (state and state.name) == name


def test_an_older_one_goes_first_and_this_process_ends(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    older, mine = flow_run(1, Scheduled(name="AwaitingConcurrencySlot")), flow_run(2, Running())
    prefect = FakePrefect(older, mine)
    with pytest.raises(Pause):
        not_now(monkeypatch, project, prefect, mine)
    assert prefect.set[mine.id].is_scheduled()
    assert str(prefect.set[mine.id].message).endswith("goes first")


def test_a_run_that_no_schedule_made_has_its_turn(project: Project) -> None:
    assert turns.not_now(project, "2026-01-31T02:00", None) is None


def test_a_process_ran_until_its_next_state_and_for_no_known_time_if_that_is_a_crash() -> None:
    run = flow_run(0, Running(), started=0)
    kinds: tuple[Any, ...] = (Running, Scheduled, Running, Crashed, AwaitingRetry, Running)
    states: list[State[Any]] = [kind(timestamp=HOUR + timedelta(minutes=10 * n)) for n, kind in enumerate(kinds)]
    prefect: Any = FakePrefect(run, **{str(run.id): states[::-1]})
    minutes = [(begun - HOUR, ended and ended - HOUR) for begun, ended in turns.busy(prefect, run, Phase.WORKING)]
    assert minutes == [(timedelta(0), timedelta(minutes=10)), (timedelta(minutes=50), None)]
    assert turns.busy(prefect, run.model_copy(update={"state": Completed(name="Skipped")}), Phase.ENDED) == []
    assert turns.busy(prefect, run, Phase.LOST) == []


def test_the_date_of_a_run_by_hand_is_its_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2026, 1, 31, 2, 0, 31, tzinfo=UTC)
    monkeypatch.setattr(turns, "flow_run", SimpleNamespace(scheduled_start_time=start))
    assert turns.logical_date(None) == "2026-01-31T02:00"
    of_schedule = flow_run(0, Scheduled()).model_copy(update={"expected_start_time": start})
    assert turns.logical_date(of_schedule) == "2026-01-31T02:00:31"


@pytest.mark.parametrize("text", ["2026-01-31T02:00", "2026-01-31 02:00", "2026-01-31T02:00Z", "2026-01-31T03:00:00+01:00"])
def test_one_date_has_one_name(text: str) -> None:
    assert turns.normalised(text) == "2026-01-31T02:00"


def test_another_name_stays_and_one_that_the_ledger_cannot_keep_is_refused() -> None:
    assert [turns.normalised(text) for text in ("2026-01-31", "trial")] == ["2026-01-31", "trial"]
    with pytest.raises(RecipeError, match="longer than 64"):
        turns.normalised("x" * 65)


def test_a_flow_run_without_a_history_was_at_no_known_time_at_work() -> None:
    run = flow_run(0, Running(), started=0)
    prefect: Any = FakePrefect(run)
    assert turns.busy(prefect, run, Phase.WORKING) == []
