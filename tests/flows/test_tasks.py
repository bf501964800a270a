"""The retry policy, whether a run may continue, and what a task does around its step. Prefect's client is the boundary."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running
from requests import RequestException
from sqlalchemy.exc import IntegrityError, OperationalError

from ratchet.components.errors import ClaimLostError, DataError, LedgerUnavailableError, RegistryError
from ratchet.components.interruption import Interrupted
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.flows import reconcile, tasks
from ratchet.flows.tasks import RETRIED, worth_retrying


class Broken:
    """A state whose result raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> Any:
        raise self.error


REQUEST = httpx.Request("GET", "http://localhost")
TEMPORARY = [
    ConnectionError("down"),
    LedgerUnavailableError("restarting"),
    OSError("busy"),
    RequestException("down"),
    OperationalError("", None, Exception()),
    IntegrityError("", None, Exception()),
    PrefectHTTPStatusError("503", request=REQUEST, response=httpx.Response(503, request=REQUEST)),
]


@pytest.mark.parametrize("error", TEMPORARY)
def test_what_may_pass_is_retried(error: Exception) -> None:
    assert worth_retrying(None, None, Broken(error))


@pytest.mark.parametrize(
    "error", [DataError("wrong"), RegistryError("refused"), ClaimLostError("lost"), TypeError("a bug"), AssertionError()]
)
def test_what_a_person_must_fix_is_not_retried(error: Exception) -> None:
    assert not worth_retrying(None, None, Broken(error))


def test_a_task_that_succeeded_is_not_retried() -> None:
    assert not worth_retrying(None, None, Completed(data=1))


def test_the_last_row_of_the_policy_fits_every_error() -> None:
    assert RETRIED[-1][:2] == (Exception, False)


NAMES = {
    "prepare_data": "prepare data",
    "warm_up": "warm up policy",
    "fetch_champion": "fetch champion",
    "validate_reward": "validate reward",
    "train": "train policy",
    "evaluate": "evaluate",
    "register": "register challenger",
    "gate": "gate",
    "await_approval": "await approval",
    "move_champion": "promote",
    "publish": "publish",
}


def test_tasks_have_the_names_that_prefects_ui_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, dict[str, Any]] = {}

    def fake(**options: Any) -> Any:
        return lambda function: made.setdefault(function.__name__, options)

    monkeypatch.setattr(tasks, "task", fake)
    for step, name in NAMES.items():
        tasks.as_task(name, getattr(tasks.steps, step))
        assert getattr(tasks, step).__doc__ == getattr(tasks.steps, step).__doc__
    assert {step: options["name"] for step, options in made.items()} == NAMES
    assert all(options["retries"] == 2 and not options["persist_result"] for options in made.values())


# Whether this process may continue

RUN = uuid.uuid4()


class Client:
    """Of a server that says that the run is in a state, or nothing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run_id: uuid.UUID) -> Any:
        assert run_id == RUN
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(state=self.answer)


@pytest.fixture
def claim() -> Claim:
    return acquired(Ledger("sqlite:///:memory:"), "run", "here", lambda *_: None)


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def says(answer: Any) -> None:
        monkeypatch.setattr(tasks, "flow_run", SimpleNamespace(id=str(RUN)))
        monkeypatch.setattr(tasks, "get_client", lambda sync_client: Client(answer))

    return says


@pytest.mark.parametrize("state", [Crashed, Cancelled, Cancelling, Failed, Completed])
def test_a_run_that_prefect_has_ended_stops(claim: Claim, prefect: Callable[[Any], None], state: Any) -> None:
    prefect(state())
    with pytest.raises(ClaimLostError, match=f"Prefect reports this run as {state().name}.*Run again"):
        tasks.confirm(claim)


@pytest.mark.parametrize("state", [Running(), Pending(), None])
def test_a_run_that_prefect_has_going_continues_while_its_claim_is_held(
    claim: Claim, prefect: Callable[[Any], None], state: Any
) -> None:
    prefect(state)
    tasks.confirm(claim)
    acquired(claim.ledger, "run", "here", lambda *_: None)
    with pytest.raises(ClaimLostError, match="took this run over"):
        tasks.confirm(claim)


def test_a_prefect_that_does_not_answer_is_asked_again(claim: Claim, prefect: Callable[[Any], None]) -> None:
    prefect(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError) as error:
        tasks.confirm(claim)
    assert worth_retrying(None, None, SimpleNamespace(result=lambda: (_ for _ in ()).throw(error.value)))


def test_outside_a_flow_run_the_ledger_is_asked_alone(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "get_client", lambda **_: pytest.fail("asked"))
    monkeypatch.setattr(tasks, "flow_run", SimpleNamespace(id=None))
    tasks.confirm(claim)


def test_a_step_that_the_operator_ends_is_cancelled_not_crashed() -> None:
    state = tasks.interrupted(Interrupted("SIGINT"))
    assert state.is_cancelled()
    assert state.message == "Ended by SIGINT. The same run resumes where it stopped."


@pytest.mark.parametrize(("flow", "noted"), [("finetune", [str(RUN)]), ("split", [])])
def test_a_flow_with_legs_elsewhere_is_not_taken_for_dead_between_them(
    monkeypatch: pytest.MonkeyPatch, claim: Claim, flow: str, noted: list[str]
) -> None:
    monkeypatch.setattr(tasks, "flow_run", SimpleNamespace(id=str(RUN), flow_name=flow))
    tasks.note_flow_run(SimpleNamespace(ledger=claim.ledger, identity="run", claim=claim))  # type: ignore[arg-type]
    claim._release()
    assert claim.ledger.past_flow_runs() == noted


def test_the_flow_run_that_resumes_is_not_marked_for_the_process_before(monkeypatch: pytest.MonkeyPatch, claim: Claim) -> None:
    marked: list[str] = []
    monkeypatch.setattr(reconcile, "mark_crashed", lambda flow_run, message: marked.append(flow_run))
    for module in (tasks, reconcile):
        monkeypatch.setattr(module, "flow_run", SimpleNamespace(id=str(RUN), flow_name="finetune"))
    for past in (str(RUN), "another"):
        claim.ledger.note_flow_run(past, "an earlier run", 0)
    tasks.note_flow_run(SimpleNamespace(ledger=claim.ledger, identity="run", claim=claim))  # type: ignore[arg-type]
    assert marked == ["another"]
    assert claim.ledger.past_flow_runs() == []
