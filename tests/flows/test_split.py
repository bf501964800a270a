"""One run over several pools, with legs that are told how they end. Prefect's client is the boundary."""

import re
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import cloudpickle
import httpx
import pytest
import yaml
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, Pause
from prefect.states import Cancelled, Completed, Crashed, Failed, Running

from ratchet.components.errors import RecipeError
from ratchet.flows import endings, split
from ratchet.flows.finetune import finetune
from ratchet.flows.split import TRAINING_ELSEWHERE, Leg, run_legs
from tests.places import ROOT

THIS, ELSEWHERE = uuid4(), uuid4()
FINISHED = Completed(name="Finished")
Ran = list[tuple[str, dict[str, Any]]]


class Client:
    """Of a server on which the leg elsewhere goes through states, or which does not answer."""

    def __init__(self, states: list[Any]) -> None:
        self.states, self.set = states, list[tuple[UUID, str]]()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run_id: UUID) -> Any:
        assert run_id == ELSEWHERE
        state = self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        if isinstance(state, signal.Signals):
            signal.raise_signal(state)
        return SimpleNamespace(state=state)

    def set_flow_run_state(self, run_id: UUID, state: State[Any]) -> None:
        self.set.append((run_id, str(state.name)))


@pytest.fixture
def ran() -> Ran:
    return []


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch, ran: Ran) -> Callable[..., Client]:
    """Legs here end in the states given; those elsewhere go through the client's."""

    def says(*elsewhere: Any, here: list[State[Any]] | None = None, known: bool = True) -> Client:
        client, local = Client(list(elsewhere)), here or [FINISHED, Completed(name="Promoted", data={"status": "promoted"})]

        def deployed(name: str, **given: Any) -> Any:
            if not known:
                raise ObjectNotFound(Exception())
            ran.append((name, given))
            return SimpleNamespace(id=ELSEWHERE)

        def at_home(story: Any, recipe: str, overrides: list[str], until: str | None, slot: str | None) -> Any:
            ran.append(("here", {"recipe": recipe, "overrides": overrides, "until": until, "slot": slot}))
            return local.pop(0)

        monkeypatch.setattr(split, "get_client", lambda sync_client: client)
        monkeypatch.setattr(split, "run_deployment", deployed)
        monkeypatch.setattr(split, "run_recipe", at_home)
        monkeypatch.setattr(split, "flow_run", SimpleNamespace(id=str(THIS)))
        monkeypatch.setattr(split, "turn", lambda recipe, overrides, slot: (slot, None))
        monkeypatch.setattr(split, "deployed", SimpleNamespace(id=None))
        monkeypatch.setattr(split, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(endings, "get_run_logger", lambda: SimpleNamespace(error=lambda _: None))
        return client

    return says


def run() -> Any:
    return run_legs("r.yaml", ["seed=slot"], "2026-11-27T02:00", TRAINING_ELSEWHERE)


def test_the_legs_are_one_run_with_one_slot(prefect: Callable[..., Client], ran: Ran) -> None:
    prefect(Running(), httpx.ConnectError("restarting"), FINISHED)
    state = run()
    assert (state.name, state.data) == ("Promoted", {"status": "promoted"})
    same = {"recipe": "r.yaml", "overrides": ["seed=slot"], "slot": "2026-11-27T02:00"}
    assert [place for place, _ in ran] == ["here", "finetune/gpu", "here"]
    given = [ran[0][1], ran[1][1]["parameters"], ran[2][1]]
    assert given == [{**same, "until": until} for until in ("reward", "train", None)]
    assert (ran[1][1]["timeout"], ran[1][1]["idempotency_key"]) == (0, f"{THIS}:1")  # a resumed run finds its leg again


@pytest.mark.parametrize("ended", [Completed(name="Unchanged"), Failed(name="RewardRefused")])
def test_a_leg_here_that_ends_the_run_is_the_last(prefect: Callable[..., Client], ran: Ran, ended: State[Any]) -> None:
    prefect(here=[ended])
    assert run() is ended
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("ended", "name"),
    [
        (Completed(name="Unchanged", message="m"), "Unchanged"),
        (Failed(name="Stopped", message="m"), "Stopped"),
        (Crashed(message="m"), "Error"),
        (Cancelled(message="m"), "Error"),
    ],
)
def test_a_leg_elsewhere_that_ends_the_run_is_the_last(
    prefect: Callable[..., Client], ran: Ran, ended: State[Any], name: str
) -> None:
    prefect(ended)
    state = run()
    assert (state.name, state.is_failed()) == (name, not ended.is_completed())
    assert state.message == ("m" if ended.is_completed() else f"finetune/gpu ended as {ended.name}: m")
    assert len(ran) == 2


def test_a_deployment_that_is_not_there_is_named(prefect: Callable[..., Client]) -> None:
    prefect(known=False)
    state = run()
    assert (state.name, "no deployment finetune/gpu. Create it: ratchet deploy" in str(state.message)) == ("Error", True)


def test_a_cancelled_run_takes_its_leg_with_it(prefect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "deployment", SimpleNamespace(id=None))
    client = prefect(Running(), signal.SIGTERM)
    assert run().is_cancelled()
    assert client.set == [(ELSEWHERE, "Cancelling")]


def test_a_run_that_resumes_leaves_its_leg_running(prefect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> State[Any]:
        raise Pause

    monkeypatch.setattr(endings, "interrupted", again)
    client = prefect(Running(), signal.SIGTERM)
    with pytest.raises(Pause):
        run()
    assert client.set == []


def test_a_slot_without_a_turn_is_skipped(prefect: Callable[..., Client], ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect()
    skipped = Completed(name="Skipped")
    monkeypatch.setattr(split, "turn", lambda *_: ("2026-11-27T02:00", skipped))
    assert run() is skipped
    assert ran == []


@pytest.mark.parametrize("legs", [[], [Leg(until="train")], [Leg(), Leg()], [Leg(until="no such stage"), Leg()]])
def test_legs_that_are_no_run_are_refused(legs: list[Leg]) -> None:
    with pytest.raises(RecipeError):
        split.check(legs)


def test_the_deployments_of_the_documentation_fit_together() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "deployments.md").read_text(), re.MULTILINE | re.DOTALL)
    nightly, gpu = yaml.safe_load(example)["deployments"]
    assert split.split.validate_parameters(nightly["parameters"])["legs"] == TRAINING_ELSEWHERE
    assert finetune.validate_parameters(gpu["parameters"])
    assert TRAINING_ELSEWHERE[1].deployment == f"{finetune.name}/{gpu['name']}"
    assert [each["entrypoint"] for each in (nightly, gpu)] == [
        f"{each.fn.__module__}.{each.fn.__name__}" for each in (split.split, finetune)
    ]


def test_the_flow_can_be_pickled_for_its_process() -> None:
    assert cloudpickle.dumps(split.split)
