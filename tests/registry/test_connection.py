"""An outage of MLflow is said once, in time, and so is its end; who needs MLflow waits so long and no longer."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE

from ratchet.components.errors import PausedError, RegistryError, UnansweredError
from ratchet.components.registry.connection import Connection, patience, pauses
from ratchet.components.registry.journal import BusyError
from ratchet.components.registry.outage import ask, is_outage, is_rejection

LIMIT = 600


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


class Server:
    """Does not answer before a time on the clock; each attempt takes so many seconds."""

    def __init__(self, clock: Clock, back: float, takes: float = 0.0) -> None:
        self.clock, self.back, self.takes = clock, back, takes

    def __call__(self) -> str:
        self.clock.now += self.takes
        if self.clock.now < self.back:
            raise ConnectionError("refused")
        return "done"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said(clock: Clock) -> list[tuple[float, str]]:
    return []


@pytest.fixture
def connection(clock: Clock, said: list[tuple[float, str]]) -> Connection:
    return Connection("sqlite://user:secret@x", Path("kept"), lambda text: said.append((clock.now - 1000, text)), clock)


def keep_sending(connection: Connection, clock: Clock, action: Callable[[], str]) -> None:
    """As the thread does."""
    for pause in pauses():
        try:
            connection.send(action)
            return
        except ConnectionError:
            clock.sleep(pause)


@pytest.mark.parametrize("takes", [0.0, 7.0])
def test_an_outage_is_said_once_within_30_seconds_and_its_end_once(
    connection: Connection, clock: Clock, said: list[tuple[float, str]], takes: float
) -> None:
    keep_sending(connection, clock, Server(clock, 1000 + 1800, takes))
    (when, first), (_, last) = said
    assert when < 30
    assert first.startswith("MLflow at sqlite://***@x has not taken figures since ")
    assert "(refused). Training continues: they are kept in kept" in first
    assert last.startswith("MLflow at sqlite://***@x answers again, after 18")
    assert not connection.away


def test_a_restart_is_not_worth_a_line(connection: Connection, clock: Clock, said: list[tuple[float, str]]) -> None:
    keep_sending(connection, clock, Server(clock, 1003))
    assert said == []


def test_a_request_that_hangs_is_said_by_a_thread_that_watches(
    connection: Connection, clock: Clock, said: list[tuple[float, str]]
) -> None:
    def hangs() -> None:
        for _ in range(6):
            clock.sleep(5)
            connection.check()

    connection.send(hangs)
    assert [when for when, _ in said] == [10, 30]
    assert "(no reply yet)" in said[0][1]


def test_a_backlog_that_takes_long_is_no_outage(connection: Connection, clock: Clock, said: list[tuple[float, str]]) -> None:
    def slow() -> None:
        for _ in range(12):
            clock.sleep(5)
            connection.check()
            connection.progressed()

    connection.send(slow)
    assert said == []


def test_who_needs_mlflow_waits_says_so_once_and_calls_again(
    connection: Connection, clock: Clock, said: list[tuple[float, str]]
) -> None:
    assert connection.insist(Server(clock, 1400)) == "done"
    assert [text.partition(" at ")[0] for _, text in said] == ["waiting for MLflow", "MLflow"]
    assert "at most 600 s: refused" in said[0][1]


def test_nobody_waits_longer_than_the_limit(connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", "40")
    with pytest.raises(
        UnansweredError, match=r"has not answered for 40 s \(refused\).*the same command resumes the run"
    ) as raised:
        connection.insist(Server(clock, 9999))
    assert clock.now == 1040
    assert not is_outage(raised.value)  # a step around it must not wait again


def test_a_run_that_is_asked_to_stop_does_not_wait(connection: Connection, clock: Clock) -> None:
    def stop() -> None:
        raise PausedError("asked")

    with pytest.raises(PausedError):
        connection.insist(Server(clock, 9999), stop)


def test_another_error_is_not_waited_out(connection: Connection, clock: Clock, said: list[tuple[float, str]]) -> None:
    with pytest.raises(ZeroDivisionError):
        connection.insist(lambda: 1 / 0)
    assert (clock.now, said) == (1000, [])


@pytest.mark.parametrize("text", ["ten", "-1", "inf", "nan"])
def test_the_limit_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", text)
    with pytest.raises(RegistryError, match=f"RATCHET_MLFLOW_SECONDS is '{text}'"):
        patience()


def test_a_port_that_nobody_listens_on_is_an_outage_in_few_words(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", "0")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{found.getsockname()[1]}"
    with pytest.raises(MlflowException) as raised:
        ask(uri)
    wrapped = RegistryError("cannot use MLflow")
    wrapped.__cause__ = raised.value
    assert is_outage(wrapped)
    with pytest.raises(UnansweredError, match=r"has not answered for 0 s \(Connection refused\)"):
        Connection(uri, Path("kept"), print, clock).insist(lambda: "not called")


@pytest.mark.parametrize(
    ("error", "outage", "rejection"),
    [
        (MlflowException("busy", TEMPORARILY_UNAVAILABLE), True, False),
        (MlflowException("too long", INVALID_PARAMETER_VALUE), False, True),
        (MlflowException("a bug of the client"), False, False),
        (TimeoutError("no reply"), True, False),
        (requests.exceptions.ConnectionError("refused"), True, False),
        (requests.exceptions.ReadTimeout("silent"), True, False),
        (requests.exceptions.SSLError("certificate"), False, False),
        (requests.exceptions.InvalidURL("htp:"), False, False),
        (BusyError("our own thread"), False, False),
        (RegistryError("the ledger is locked"), False, False),
    ],
)
def test_errors_are_told_apart(error: Any, outage: bool, rejection: bool) -> None:
    assert (is_outage(error), is_rejection(error)) == (outage, rejection)


def test_what_mlflow_denies_is_not_waited_for_and_names_the_grant(connection: Connection) -> None:
    def denied() -> None:
        raise MlflowException(
            "API request to endpoint /api/2.0/mlflow/runs/create failed with error code 403", error_code=PERMISSION_DENIED
        )

    with pytest.raises(RegistryError, match=r"denies this user this request \(runs/create\)\. Have its administrator"):
        connection.insist(denied)
