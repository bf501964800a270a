"""SIGTERM, deferred until the current work is safe."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


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
