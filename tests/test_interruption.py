"""The operator's signals are put off until the work at hand is safe, and end what can be left."""

import signal
import threading
from collections.abc import Iterator

import pytest

from ratchet.components import interruption
from ratchet.components.interruption import Interrupted, Interruption, admitted, postponed, signal_name


@pytest.fixture
def received() -> Iterator[list[int]]:
    """What a handler of ours was called with; the one before it comes back afterwards."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_every_signal_has_a_name() -> None:
    assert [signal_name(number) for number in (9, 40)] == ["SIGKILL", "signal 40"]
    assert all(map(signal_name, range(65)))


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


def interrupted_step(went_on: list[bool]) -> None:
    with admitted():
        signal.raise_signal(signal.SIGTERM)
        went_on.append(True)


def test_a_signal_ends_what_admits_it_and_is_delivered_where_it_was_postponed(received: list[int]) -> None:
    went_on: list[bool] = []
    for times in (1, 2):  # nothing is left of the first
        with postponed():
            with pytest.raises(Interrupted, match="SIGTERM"):
                interrupted_step(went_on)
            assert len(received) == times - 1
        assert len(received) == times
    assert went_on == []


def test_a_signal_that_was_postponed_ends_the_next_step_at_once(received: list[int]) -> None:
    went_on: list[bool] = []
    with postponed():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interrupted_step(went_on)
    assert (received, went_on) == ([signal.SIGTERM], [])


def clean_up(cleaned: list[bool]) -> None:
    with admitted():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned.append(True)


def test_a_second_signal_does_not_interrupt_the_cleaning_up() -> None:
    cleaned: list[bool] = []
    for _ in range(2):  # what was interrupted before does not end the second before it begins
        with pytest.raises(Interrupted):
            clean_up(cleaned)
    assert cleaned == [True, True]


def fail_postponed() -> None:
    with postponed():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError


def test_a_postponed_signal_is_delivered_although_the_block_failed(received: list[int]) -> None:
    with pytest.raises(RuntimeError):
        fail_postponed()
    assert received == [signal.SIGTERM]


def test_sigint_is_recorded_too_once_nobody_waits_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "_committed", [signal.SIGTERM])
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
    interruption.commit_on_every_signal()
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with Interruption() as recorded:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert (recorded.requested, calls) == (True, [])
        assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
