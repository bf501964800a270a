"""What dead processes left is put right in Prefect: its client is a fake."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, Pending

from ratchet.components.ledger import slots
from ratchet.components.ledger.slots import Slot
from ratchet.components.project.project import Project
from ratchet.flows import reconcile as module
from ratchet.flows.reconcile import MOST_ATTEMPTS, reconcile
from tests.run.runs import claim_of, new_project

SLOT = Slot("micro", "2026-01-31T02:00", "r")


class FakePrefect:
    """One flow run, or none; and what was set."""

    def __init__(self, state: State[Any] | None, deployment: bool = True) -> None:
        self.state, self.deployment = state, uuid4() if deployment else None

    def __enter__(self) -> "FakePrefect":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run: UUID) -> FlowRun:
        if self.state is None:
            raise ObjectNotFound(http_exc=ValueError())
        return FlowRun(id=run, flow_id=uuid4(), deployment_id=self.deployment, state=self.state)

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        self.state = state


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def said(project: Project, prefect: FakePrefect | None, monkeypatch: pytest.MonkeyPatch, kills: int = 1, **how: Any) -> str:
    """What reconcile says of a slot that as many processes took and left without a word."""
    for _ in range(kills):
        claim = claim_of(project)
        taken = slots.take(project.ledger, SLOT, claim.run, str(uuid4()))
        if status := how.get("status"):
            slots.leave(project.ledger, taken, status)
        claim._release()
    monkeypatch.setattr(module, "get_client", lambda **_: prefect)
    lines: list[str] = []
    reconcile(project.home, lines.append, prefect is not None)
    return "\n".join(lines)


def test_the_flow_run_of_a_killed_slot_is_started_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect = FakePrefect(Crashed())
    assert said(project, prefect, monkeypatch) == "slot 2026-01-31T02:00 of micro was killed; Prefect starts it again"
    assert prefect.state is not None
    assert prefect.state.name == "AwaitingRetry"


@pytest.mark.parametrize("state", [AwaitingRetry(), Pending()])
def test_one_that_prefect_starts_anyway_is_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, state: State[Any]
) -> None:
    prefect = FakePrefect(state)
    assert said(project, prefect, monkeypatch) == ""
    assert prefect.state is state


@pytest.mark.parametrize("status", [None, slots.KILLED])
def test_one_that_a_person_cancelled_is_not_started_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    assert "was cancelled" in said(project, FakePrefect(Cancelled()), monkeypatch, status=status)
    assert slots.abandoned(project.ledger) == []


def test_one_that_a_newer_slot_ended_is_not_started_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(project, FakePrefect(Completed(name="Skipped")), monkeypatch) == ""
    assert slots.abandoned(project.ledger) == []


def test_ends_in_order_are_not_counted_as_kills(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "starts it again" in said(project, FakePrefect(Crashed()), monkeypatch, MOST_ATTEMPTS, status=slots.KILLED)


@pytest.mark.parametrize("status", [slots.FAILED, slots.PAUSED, slots.CANCELLED, "refused"])
def test_a_slot_that_was_ended_by_a_person_or_an_error_or_done_is_left(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    assert said(project, FakePrefect(Crashed()), monkeypatch, status=status) == ""


def test_a_slot_that_kills_every_process_is_given_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "was killed 3 times" in said(project, FakePrefect(Crashed()), monkeypatch, MOST_ATTEMPTS)
    assert slots.abandoned(project.ledger) == []


@pytest.mark.parametrize("prefect", [None, FakePrefect(None), FakePrefect(Crashed(), deployment=False)])
def test_what_no_server_can_start_is_said_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, prefect: FakePrefect | None
) -> None:
    expected = "slot 2026-01-31T02:00 of micro was killed; `ratchet run --slot 2026-01-31T02:00` resumes it"
    assert said(project, prefect, monkeypatch) == expected
    lines: list[str] = []
    reconcile(project.home, lines.append, prefect is not None)
    assert lines == []
