"""The operator's signals, SIGINT (Ctrl-C) and SIGTERM: deferred where they would do harm, raised where work can be left."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

OPERATOR = (signal.SIGINT, signal.SIGTERM)

_waiting: list[int] = []  # signals that were noted or raised, and for which a postponed block has yet to end
_depth = 0  # of postponed blocks


class Interrupted(BaseException):
    """The operator ends the run, which resumes when it is started again."""


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
                raise Interrupted(signal.Signals(_waiting[0]).name)
            yield
    finally:
        if not _depth:  # nobody else has to know
            _waiting.clear()


def _note(number: int, frame: FrameType | None) -> None:
    _waiting.append(number)


def _raise(number: int, frame: FrameType | None) -> None:
    _waiting.append(number)
    if len(_waiting) == 1:  # the second must not interrupt what the first one began to clean up
        raise Interrupted(signal.Signals(number).name)


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

    Only the main thread can handle signals: in another, this changes nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None
        self._installed = False

    def __enter__(self) -> "Interruption":
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._installed:
            return
        signal.signal(signal.SIGTERM, self._before)
        if self.requested:
            signal.raise_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
