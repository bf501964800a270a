"""One life of the process that runs a user's function, seen from the pipeline: started, asked, and ended with all it left."""

import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.worker import keeper
from ratchet.components.graders.worker.environment import user_environment
from ratchet.components.interruption import signal_name

LONGEST_REPLY = 64 * 2**20  # bytes
SECONDS_TO_END = 15.0  # beyond what the keeper takes to end everything
SECONDS_TO_REPORT = 2.0  # until the keeper has seen that the function's process ended


class Process:
    """The keeper, the function's process below it, and the three pipes to them.

    Args:
        root: the project's root, the process's working directory.
        limits: as JSON.
        environment: names of the variables to pass besides the needed ones.
        show: gets what was printed during a call, and whether the call failed.
    """

    def __init__(
        self, root: str, limits: Mapping[str, Any], environment: Sequence[str], show: Callable[[bytes, bool], None]
    ) -> None:
        self.limits, self._show = limits, show
        self._channel, theirs = socket.socketpair()
        control, self._control = os.pipe()
        self._status, status = os.pipe()
        self._output, output = os.pipe()
        passed = (theirs.fileno(), control, status)
        settings = {"root": root, "package": _importable(), "limits": limits}  # no more: other users can read a command line
        command = [sys.executable, "-P", keeper.__file__, *map(str, passed), json.dumps(settings)]
        try:
            self._keeper = subprocess.Popen(
                command,
                cwd=root,
                env=user_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C in the terminal is for the pipeline alone
            )
        finally:
            theirs.close()
            for descriptor in (control, status, output):
                os.close(descriptor)
        self._channel.setblocking(False)
        os.set_blocking(self._output, False)

    def loaded(self) -> None:
        """Memory counts from here."""
        with suppress(BrokenPipeError):
            os.write(self._control, keeper.READY)

    def ask(self, request: bytes, seconds: float) -> dict[str, Any]:
        """Send a line, and wait for the line that answers it. What the function prints meanwhile is shown.

        Raises:
            FaultError: if none came; the process is then ended.
        """
        printed, failed = bytearray(), True
        try:
            answer = _decoded(self._exchange(bytearray(request), seconds, printed))
            failed = False
            return answer
        except BaseException:  # Ctrl-C too: an answer that is still to come must not be taken for the next one's
            self.end()
            raise
        finally:
            self._show(bytes(printed), failed)

    def _exchange(self, request: bytearray, seconds: float, printed: bytearray) -> bytes:
        received, deadline = bytearray(), time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._status, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0:
                    key = " (limits.seconds)" if seconds == self.limits["seconds"] else ""
                    raise FaultError("timeout", f"it took longer than {seconds:g} s{key}")
                ready = {key.fileobj: events for key, events in selector.select(left)}
                self._drain(printed)
                if self._channel in ready:
                    self._transfer(ready[self._channel], request, received)
                    if not request:
                        selector.modify(self._channel, selectors.EVENT_READ)
                elif self._status in ready:  # only if there is no answer left to read
                    raise self._ended()
        self._drain(printed)
        return bytes(received)

    def _transfer(self, events: int, request: bytearray, received: bytearray) -> None:
        try:
            if events & selectors.EVENT_READ:
                chunk = self._channel.recv(2**20)
                if not chunk:
                    raise self._ended()
                received += chunk
            if request and events & selectors.EVENT_WRITE:
                del request[: self._channel.send(request)]
        except ConnectionError:
            raise self._ended() from None
        if len(received) > LONGEST_REPLY:
            raise FaultError("output", f"it answered with more than {LONGEST_REPLY // 2**20} MiB")

    def _drain(self, printed: bytearray) -> None:
        most = self.limits["output_kb"] * 1024
        with suppress(BlockingIOError):
            while chunk := os.read(self._output, 2**16):
                printed += chunk
                if len(printed) > most:
                    del printed[most:]
                    raise FaultError(
                        "output", f"it printed more than {self.limits['output_kb']} KiB in one call (limits.output_kb)"
                    )

    def _ended(self) -> FaultError:
        """The fault that the keeper reports."""
        select.select([self._status], [], [], SECONDS_TO_REPORT)
        self._close_control()
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(SECONDS_TO_END)
        os.set_blocking(self._status, False)
        try:
            report = json.loads(os.read(self._status, 4096) or b"{}")
        except (BlockingIOError, ValueError):
            report = {}
        return fault_of(report, self.limits)

    def end(self) -> None:
        """End the process and every process that it left; once."""
        if self._channel.fileno() == -1:
            return
        self._channel.close()
        self._close_control()
        try:
            self._keeper.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._keeper.pid, signal.SIGKILL)
            self._keeper.wait()
        os.close(self._status)
        os.close(self._output)

    def _close_control(self) -> None:
        if self._control != -1:
            os.close(self._control)
            self._control = -1


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise FaultError("protocol", f"it wrote to the channel of its process: {error}") from error
    return reply


def fault_of(report: Mapping[str, Any], limits: Mapping[str, Any]) -> FaultError:
    """What the keeper's report means."""
    if report.get("limit") == "memory":
        return FaultError(
            "memory", f"it took more than {limits['memory_mb']} MiB of memory beyond its imports (limits.memory_mb)"
        )
    if report.get("limit") == "processes":
        return FaultError("processes", f"it had more than {limits['processes']} processes (limits.processes)")
    status = report.get("status")
    if status is None:
        return FaultError("crash", "its process is gone")
    if status >= 0:
        return FaultError("exit", f"it ended its process with exit code {status}")
    name = signal_name(-status)
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return FaultError("crash", f"its process was killed by {name}{hint}")


def _importable() -> str:
    """The folder from which the child imports Ratchet, if it is not installed."""
    import ratchet

    return str(Path(ratchet.__file__).parents[1])
