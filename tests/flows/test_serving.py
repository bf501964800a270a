"""How serving ends: runs first, then the runner. Processes of runs and Prefect's client are the boundary."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from ratchet.flows import serving
from ratchet.flows.serving import Serving, serve_until_stopped

ENDED = "runner ended, namespace(stopping=True)"


class Idle(Serving):
    """A runner that has nothing to start."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events
        self._scheduled_run_poller: Any = SimpleNamespace(stopping=False)

    async def start(self, *_: Any, **__: Any) -> None:
        signal.signal(signal.SIGTERM, self.handle_sigterm)  # as Prefect's does
        self.events.append("started")
        try:
            await asyncio.sleep(60)
        finally:
            self.events.append(f"runner ended, {self._scheduled_run_poller}")


class Child:
    """The process of a run, which ends some polls after SIGTERM; never, if it hangs."""

    def __init__(self, events: list[str], polls: float) -> None:
        self.events, self.polls, self.ending, self.gone = events, polls, False, False

    def terminate(self) -> None:
        self.events.append("SIGTERM")
        self.ending = True

    def kill(self) -> None:
        self.events.append("SIGKILL")
        self.gone = True

    def alive(self) -> bool:
        self.polls -= self.ending
        if self.polls < 0 and not self.gone:
            self.events.append("run ended")
            self.gone = True
        return not self.gone


class Client:
    """Notes what is paused."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def pause_deployment(self, deployment: UUID) -> None:
        self.events.append("paused")


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def served(events: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Serve, and receive signals after these seconds."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def serve(child: Child | None, *signals: tuple[float, int]) -> None:
        monkeypatch.setattr(serving, "active_children", lambda: [child] if child is not None and child.alive() else [])
        monkeypatch.setattr(serving, "get_client", lambda: Client(events))
        for seconds, number in signals:
            threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
        serve_until_stopped(Idle(events), [uuid4()])

    yield serve
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_run_ends_before_the_runner(served: Callable[..., None], events: list[str], number: int) -> None:
    served(Child(events, polls=3), (0.2, number))
    assert events == ["started", "SIGTERM", "paused", "run ended", ENDED]


def test_without_a_run_the_runner_ends_at_once(served: Callable[..., None], events: list[str]) -> None:
    served(None, (0.2, signal.SIGTERM))
    assert events == ["started", "paused", ENDED]


def test_a_second_signal_kills_the_run(served: Callable[..., None], events: list[str]) -> None:
    served(Child(events, polls=float("inf")), (0.2, signal.SIGINT), (0.6, signal.SIGINT))
    assert events == ["started", "SIGTERM", "paused", "SIGKILL", ENDED]


def test_a_run_that_does_not_end_in_time_is_killed(
    served: Callable[..., None], events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SECONDS_TO_COMMIT", 0.3)
    served(Child(events, polls=float("inf")), (0.2, signal.SIGTERM))
    assert events == ["started", "SIGTERM", "paused", "SIGKILL", ENDED]


def test_runs_end_without_a_server_too(
    served: Callable[..., None], events: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: object) -> None:
        raise ConnectionError("refused by http://ann:hunter22@prefect")

    monkeypatch.setattr(Client, "pause_deployment", refuse)
    served(Child(events, polls=3), (0.2, signal.SIGTERM))
    assert events == ["started", "SIGTERM", "run ended", ENDED]
    assert "could not be paused: ConnectionError: refused by http://***@prefect" in " ".join(capsys.readouterr().err.split())


def test_a_server_that_hangs_does_not_hold_up_the_end(
    served: Callable[..., None], events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "pause_deployment", lambda *_: asyncio.sleep(60))
    monkeypatch.setattr(serving, "SECONDS_TO_PAUSE", 0.3)
    served(Child(events, polls=1), (0.2, signal.SIGTERM))
    assert events == ["started", "SIGTERM", "run ended", ENDED]


def test_an_error_of_the_runner_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(Idle, "start", fail)
    with pytest.raises(ConnectionError):
        serve_until_stopped(Idle([]), [])
