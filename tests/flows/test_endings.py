"""What Prefect shows of each ending, and what the caller of the flow receives."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, Pause
from prefect.states import Cancelling, Crashed, Running

from ratchet.components.errors import ClaimLostError, DataError
from ratchet.components.interruption import Interrupted
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.told import Told
from ratchet.flows import endings, finetune, running, shown
from ratchet.flows.endings import UnsuccessfulRunError

TOLD = Told("It was not better.", "The gain is 0.", "Refused.", "Look at the report.")
REPORT = "/home/ann/project/.ratchet/reports/3f2a.html"
STATES = {
    Status.PROMOTED: ("COMPLETED", "Promoted"),
    Status.UNCHANGED: ("COMPLETED", "Unchanged"),
    Status.FINISHED: ("COMPLETED", "Finished"),
    Status.REFUSED: ("COMPLETED", "Refused"),
    Status.REWARD_REFUSED: ("FAILED", "RewardRefused"),
    Status.INVALID: ("FAILED", "Invalid"),
    Status.STOPPED: ("FAILED", "Stopped"),
    Status.ERROR: ("FAILED", "Error"),
}


def result_with(status: Status, **more: Any) -> RunResult:
    return RunResult(status, version="2", dataset="d41d8cd9", run_id="3f2a", report=REPORT, **more)


def ends(monkeypatch: pytest.MonkeyPatch, status: Status) -> None:
    """Runs of the flow end with a status."""
    ended = lambda *_: endings.ended("My model", result_with(status), TOLD, "http://mlflow:5000")  # noqa: E731
    monkeypatch.setattr(running, "run_to_the_end", ended)


def raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(running, "run_to_the_end", fail)


def in_prefect() -> State[Any]:
    """The state of a run of the flow that Prefect's server gives."""
    state: State[Any] = finetune.finetune("recipe.yaml", return_state=True)  # type: ignore[call-overload]
    with get_client(sync_client=True) as client:
        known = client.read_flow_run(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert known.run_count == 1
    assert known.state is not None
    return known.state


@pytest.mark.parametrize("status", Status)
def test_each_status_has_a_type_and_a_name_and_is_not_retried(monkeypatch: pytest.MonkeyPatch, status: Status) -> None:
    monkeypatch.setattr(shown, "verdict", lambda *_: None)
    state = endings.ended("m", result_with(status), TOLD, "sqlite://")
    assert (state.type.value, state.name) == STATES[status]
    assert state.message == f"It was not better. The gain is 0. Report: {REPORT}"
    assert state.is_completed() or state.state_details.retriable is False
    assert finetune.finetune.retries == 0


@pytest.mark.parametrize("status", [Status.REFUSED, Status.INVALID])
def test_prefect_shows_the_state_and_leads_to_the_report_and_the_caller_has_the_result(
    prefect_harness: None, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    ends(monkeypatch, status)
    state = in_prefect()
    assert (state.type.value, state.name) == STATES[status]
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        (artifact,) = client.read_artifacts(artifact_filter=of_run)
    assert (artifact.key, artifact.type) == ("ratchet-my-model", "markdown")
    assert REPORT in str(artifact.data)
    assert "Look at the report." in str(artifact.data)
    assert "[3f2a](http://mlflow:5000/#/runs/3f2a)" in str(artifact.data)
    assert finetune.result_of("recipe.yaml", []) == result_with(status).as_json()


def test_the_caller_of_the_flow_receives_an_error_that_has_the_result(
    prefect_harness: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, Status.STOPPED)
    with pytest.raises(UnsuccessfulRunError, match="It was not better") as error:
        finetune.finetune("recipe.yaml")
    assert error.value.result == result_with(Status.STOPPED).as_json()


def test_an_error_reaches_the_caller_with_its_class_and_nobody_with_its_secret(
    prefect_harness: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    raises(monkeypatch, DataError("cannot read s3://ann:hunter22@host/x"))
    with pytest.raises(DataError, match=r"^cannot read s3://\*\*\*@host/x$"):
        finetune.result_of("recipe.yaml", [])
    state = in_prefect()
    assert (state.type.value, state.name) == ("FAILED", "Error")
    assert state.message == "DataError: cannot read s3://***@host/x"


def test_what_is_no_exception_stays_a_crash(prefect_harness: None, monkeypatch: pytest.MonkeyPatch) -> None:
    raises(monkeypatch, SystemExit(3))  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        finetune.finetune("recipe.yaml")


def test_the_message_has_no_empty_parts() -> None:
    assert (
        endings.message_of(RunResult(Status.STOPPED), Told("It was stopped.", "", "Nothing is lost.", "")) == "It was stopped."
    )


# A run that a signal ends

RUN = uuid4()
SLOT = datetime(2026, 11, 27, 2, tzinfo=UTC)


class Client:
    """Of a server that says that the run is in a state, and takes another."""

    def __init__(self, state: State[Any]) -> None:
        self.state, self.run_count = state, 1

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run_id: UUID) -> Any:
        assert run_id == RUN
        return SimpleNamespace(state=self.state, run_count=self.run_count)

    def set_flow_run_state(self, run_id: UUID, state: State[Any]) -> None:
        assert run_id == RUN
        self.state = state


def deployed(monkeypatch: pytest.MonkeyPatch, state: State[Any], deployment: str | None = "d") -> Client:
    client = Client(state)
    monkeypatch.setattr(endings, "get_client", lambda sync_client: client)
    monkeypatch.setattr(endings, "deployment", SimpleNamespace(id=deployment))
    monkeypatch.setattr(endings, "flow_run", SimpleNamespace(id=str(RUN), scheduled_start_time=SLOT, run_count=0))
    monkeypatch.setattr(endings, "get_run_logger", lambda: SimpleNamespace(error=lambda _: None))
    return client


def test_a_run_of_a_deployment_is_scheduled_again_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    client = deployed(monkeypatch, Running())
    with pytest.raises(Pause) as end:
        endings.interrupted(Interrupted("SIGTERM"))
    assert end.value.state is client.state
    assert (client.state.type.value, client.state.name) == ("SCHEDULED", "AwaitingRetry")
    assert "Ended by SIGTERM. The same run resumes" in str(client.state.message)
    assert client.state.state_details.scheduled_time == SLOT


@pytest.mark.parametrize(("state", "deployment"), [(Cancelling(), "d"), (Running(), None)])
def test_a_cancelled_run_and_one_at_a_terminal_are_not(
    monkeypatch: pytest.MonkeyPatch, state: State[Any], deployment: str | None
) -> None:
    client = deployed(monkeypatch, state, deployment)
    assert endings.interrupted(Interrupted("SIGTERM")).is_cancelled()
    assert client.state is state


def test_a_run_that_was_marked_as_crashed_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = Crashed()
    client = deployed(monkeypatch, crashed)
    with pytest.raises(Abort):
        endings.interrupted(Interrupted("SIGTERM"))
    assert client.state is crashed


@pytest.mark.parametrize(("state", "run_count"), [(Crashed(), 1), (Running(), 2)])
def test_a_process_that_lost_its_claim_reports_no_state_of_a_flow_run_that_is_anothers(
    monkeypatch: pytest.MonkeyPatch, state: State[Any], run_count: int
) -> None:
    client = deployed(monkeypatch, state)
    client.run_count = run_count
    with pytest.raises(Abort, match="taken over"):
        endings.error(ClaimLostError("taken over"))
    assert endings.error(DataError("wrong")).is_failed()


def test_a_process_that_lost_its_claim_to_another_flow_run_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(monkeypatch, Running())
    assert endings.error(ClaimLostError("taken over")).name == "Error"
