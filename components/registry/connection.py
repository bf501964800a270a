"""What the threads of a process know of MLflow's answering. An outage is said once, and so is its end."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from ratchet.components.errors import RatchetError, RegistryError, UnansweredError
from ratchet.components.registry.outage import ask, is_outage, refusal
from ratchet.components.text import redacted

SECONDS = "RATCHET_MLFLOW_SECONDS"  # how long a step that needs MLflow waits for it
DEFAULT_SECONDS = 600.0
SAID_AFTER = 10.0  # a server that is restarted within so many seconds is not worth a line
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two attempts

Value = TypeVar("Value")


class Clock(Protocol):
    """The module ``time``, or a test's."""

    def monotonic(self) -> float: ...
    def time(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Connection:
    """MLflow at one address, as seen by the run and by the thread that sends its figures."""

    def __init__(self, uri: str, kept: Path, say: Callable[[str], None], clock: Clock = time) -> None:
        """
        Args:
            kept: where figures are that MLflow does not have.
        """
        self.uri, self.kept, self.say, self.clock = uri, kept, say, clock
        self._lock = Lock()
        self._since: float | None = None  # when the first attempt began that got no answer, or none yet
        self._error: Exception | None = None  # of the last attempt, if it got none
        self._said = False

    @property
    def name(self) -> str:
        """The address without credentials."""
        return redacted(self.uri)

    @property
    def away(self) -> bool:
        """Whether the last attempt got no answer."""
        return self._error is not None

    def send(self, action: Callable[[], Value]) -> Value:
        """What an action returns that sends figures. Every error of it is said, if sending fails for a while.

        Raises:
            Exception: whatever the action raises.
        """
        with self._lock:  # before the request, so that check() sees one that hangs
            self._since = self.clock.monotonic() if self._since is None else self._since
        try:
            ask(self.uri)
            value = action()
        except Exception as error:
            self._failed(error, self.clock.monotonic())
            self.check()
            raise
        self._answered()
        return value

    def insist(self, action: Callable[[], Value], meanwhile: Callable[[], None] = lambda: None) -> Value:
        """What an action returns that needs MLflow: after an outage it is called again as a whole, so it has to be idempotent.

        Args:
            meanwhile: called while waiting; ends the waiting by raising.

        Raises:
            UnansweredError: if MLflow does not answer for as long as RATCHET_MLFLOW_SECONDS says.
            RegistryError: if it refuses the login, or this user.
        """
        limit, first = patience(), self.clock.monotonic()
        for pause in pauses():
            began = self.clock.monotonic()
            try:
                ask(self.uri)
                value = action()
            except Exception as error:
                if not is_outage(error):
                    if not isinstance(error, RatchetError) and (said := refusal(error, self.uri)) is not None:
                        raise RegistryError(said) from error
                    raise
                self._failed(error, began)
                self._wait(error, pause, self.clock.monotonic() - first, limit)
                meanwhile()
            else:
                self._answered()
                return value
        raise AssertionError  # pauses never end

    def _wait(self, error: Exception, pause: float, waited: float, limit: float) -> None:
        if waited >= limit:
            raise UnansweredError(
                f"MLflow at {self.name} has not answered for {waited:.0f} s ({_reason(error)}). What the run made is kept: "
                f"start MLflow, and the same command resumes the run. {SECONDS} says how long a run waits."
            ) from error
        if pause == FIRST_PAUSE:
            self._said = True
            self.say(f"waiting for MLflow at {self.name}, at most {limit:g} s: {_reason(error)}")
        self.clock.sleep(min(pause, limit - waited))

    def progressed(self) -> None:
        """Part of what is sent has arrived: a backlog that takes long is no outage."""
        self._answered()
        with self._lock:
            self._since = self.clock.monotonic()

    def check(self) -> None:
        """Say that MLflow does not answer, if it has not for a while; for threads that only watch."""
        with self._lock:
            if self._since is None or self._said or self.clock.monotonic() - self._since < SAID_AFTER:
                return
            self._said = True
            began = self.clock.time() - (self.clock.monotonic() - self._since)
        at, reason = time.strftime("%H:%M:%S", time.localtime(began)), _reason(self._error) if self._error else "no reply yet"
        self.say(
            f"MLflow at {self.name} has not taken figures since {at} ({reason}). Training continues: they are kept in "
            f"{self.kept}, and sent when MLflow answers, or by the next run or `ratchet reconcile`"
        )

    def _failed(self, error: Exception, began: float) -> None:
        with self._lock:
            self._since, self._error = began if self._since is None else self._since, error

    def _answered(self) -> None:
        with self._lock:
            since, said = self._since, self._said
            self._since, self._error, self._said = None, None, False
        if said and since is not None:
            self.say(f"MLflow at {self.name} answers again, after {self.clock.monotonic() - since:.0f} s")


def pauses() -> Iterator[float]:
    """Seconds between attempts, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def patience() -> float:
    """Seconds for which a step that needs MLflow waits for it.

    Raises:
        RegistryError: if the variable is not a number of seconds.
    """
    text = os.environ.get(SECONDS, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RegistryError(f"{SECONDS} is {text!r}. Set it to a number of seconds, such as 600.")
    return seconds


def _reason(error: Exception) -> str:
    """An error in a few words: the operating system's, if that is below the libraries' many."""
    text = " ".join(redacted(str(error)).split())
    found = re.search(r"\[Errno -?\d+\] ([\w ]+)", text)
    if found is not None:
        return found[1].strip()
    if "timed out" in text:
        return "no reply in time"
    return text if len(text) <= 160 else f"{text[:160]}..."
