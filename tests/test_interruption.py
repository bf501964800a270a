"""SIGTERM is put off until the work at hand is safe."""

import signal
import threading
from collections.abc import Iterator

import pytest

from ratchet.components.interruption import Interruption


@pytest.fixture
def received() -> Iterator[list[int]]:
    """What a handler of ours was called with; the one before it comes back afterwards."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_a_signal_in_the_block_is_only_noted(received: list[int]) -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        assert received == []


def test_it_is_delivered_after_the_block_to_who_handled_it_before(received: list[int]) -> None:
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_several_signals_are_delivered_as_one(received: list[int]) -> None:
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_without_a_signal_nothing_is_delivered(received: list[int]) -> None:
    with Interruption() as interruption:
        pass
    assert not interruption.requested
    assert received == []


def test_the_handler_before_is_back_after_the_block(received: list[int]) -> None:
    with Interruption():
        pass
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]


def fail() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError


def test_a_signal_is_delivered_after_a_failed_block_too(received: list[int]) -> None:
    with pytest.raises(RuntimeError):
        fail()
    assert received == [signal.SIGTERM]


def test_outside_of_the_main_thread_nothing_changes(received: list[int]) -> None:
    inside: list[object] = []

    def work() -> None:
        with Interruption() as interruption:
            inside.append((signal.getsignal(signal.SIGTERM), interruption.requested))

    handler, thread = signal.getsignal(signal.SIGTERM), threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(handler, False)]
    assert received == []
