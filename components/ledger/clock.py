"""The time of this machine, as durations are measured by it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a ledger waits by; a simulation can replace it."""

    def time(self) -> float:
        """Seconds since an instant of this machine's own: never compared with another machine's."""
        ...

    def sleep(self, seconds: float, /) -> None: ...


class MachineClock:
    """The clock of this machine."""

    def time(self) -> float:
        return uptime()

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds)


def uptime() -> float:
    """Seconds since a fixed instant, sleep included; setting the wall clock does not change it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))  # on macOS the latter includes sleep
