"""Before a stage a run asks Prefect and the ledger whether it may continue; the client of Prefect is the boundary."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from ratchet.components.errors import ClaimLostError
from ratchet.components.ledger.claims import Claim, acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.flows import claims
from ratchet.flows.tasks import worth_retrying

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
        monkeypatch.setattr(claims, "flow_run", SimpleNamespace(id=str(RUN)))
        monkeypatch.setattr(claims, "get_client", lambda sync_client: Client(answer))

    return says


@pytest.mark.parametrize("state", [Crashed, Cancelled, Cancelling, Failed, Completed])
def test_a_run_that_prefect_has_ended_stops(claim: Claim, prefect: Callable[[Any], None], state: Any) -> None:
    prefect(state())
    with pytest.raises(ClaimLostError, match=f"Prefect has this run as {state().name}.*Run again"):
        claims.confirm(claim)


@pytest.mark.parametrize("state", [Running(), Pending(), None])
def test_a_run_that_prefect_has_going_continues_while_its_claim_is_held(
    claim: Claim, prefect: Callable[[Any], None], state: Any
) -> None:
    prefect(state)
    claims.confirm(claim)
    acquired(claim.ledger, "run", "here", lambda *_: None)
    with pytest.raises(ClaimLostError, match="took this run over"):
        claims.confirm(claim)


def test_a_prefect_that_does_not_answer_is_asked_again(claim: Claim, prefect: Callable[[Any], None]) -> None:
    prefect(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError) as error:
        claims.confirm(claim)
    assert worth_retrying(None, None, SimpleNamespace(result=lambda: (_ for _ in ()).throw(error.value)))


def test_outside_a_flow_run_the_ledger_is_asked_alone(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "get_client", lambda **_: pytest.fail("asked"))
    monkeypatch.setattr(claims, "flow_run", SimpleNamespace(id=None))
    claims.confirm(claim)
