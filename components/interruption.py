"""The operator's signals, SIGINT (Ctrl-C) and SIGTERM: deferred where they would do harm, raised where work can be left."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

OPERATOR = (signal.SIGINT, signal.SIGTERM)

_committed: list[signal.Signals] = [signal.SIGTERM]  # signals after which the work at hand is committed first
_waiting: list[int] = []  # signals that were noted or raised, and for which a postponed block has yet to end
_depth = 0  # of postponed blocks


def signal_name(number: int) -> str:
    """A signal's name, such as SIGKILL; ``signal 40`` of one that Python has no name for, as most real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Interrupted(BaseException):
    """The operator ends the run, which resumes when it is started again."""


def commit_on_every_signal() -> None:
    """From now on SIGINT is treated as SIGTERM: nobody waits at a terminal for this process."""
    _committed[:] = OPERATOR


@contextmanager
def postponed() -> Iterator[None]:
    """Within the block the operator's signals are only noted; after it the handlers outside receive the first.

    For code that is not ours and would report a signal as a crash.
    """
    global _depth
    _depth += 1
    try:
        with _handled_by(_note):
            yield
    finally:
        _depth -= 1
        if _waiting:
            number = _waiting[0]
            _waiting.clear()
            signal.raise_signal(number)


@contextmanager
def admitted() -> Iterator[None]:
    """Within the block the operator's signals raise :class:`Interrupted`; one that was noted before, at once."""
    try:
        with _handled_by(_raise):
            if _waiting:
                raise Interrupted(signal_name(_waiting[0]))
            yield
    finally:
        if not _depth:  # nobody else has to know
            _waiting.clear()


def _note(number: int, frame: FrameType | None) -> None:
    _waiting.append(number)


def _raise(number: int, frame: FrameType | None) -> None:
    _waiting.append(number)
    if len(_waiting) == 1:  # the second must not interrupt what the first one began to clean up
        raise Interrupted(signal_name(number))


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone handles signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in OPERATOR}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class Interruption:
    """Within the block SIGTERM is only recorded; after it, the signal is delivered to the previous handler.

    SIGINT too after :func:`commit_on_every_signal`. Only the main thread can handle signals: in another, this changes nothing.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the work at hand is to be committed and left."""
        return bool(self._received)

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _committed}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._received:
            signal.raise_signal(self._received[0])

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
