"""A process next to that of a scheduled run: Prefect's runner trusts an exit code of 0 and leaves the run Running."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 1.0  # between two checks
SECONDS_TO_SETTLE = 5.0
DONE = b"."
VANISHED = (
    "The process of this run ended without a result: its worker was stopped, memory ran out, a library or user code ended it. "
    "The same run resumes from its last checkpoint."
)


@contextmanager
def watched(flow_run: str | None) -> Iterator[None]:
    """Mark the flow run Crashed if this process ends without leaving the block.

    Args:
        flow_run: its id; None if no watcher is needed.
    """
    if flow_run is None:
        yield
        return
    command = [sys.executable, "-P", "-m", "ratchet.flows.servers.watcher", flow_run, str(os.getpid())]
    # In its own session: a signal to this process group must not end the watcher.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        watcher.communicate(DONE)


def vanished(process: int) -> bool:
    """Wait for the parent to report that it is done, close our standard input, or be gone; false if it reported so.

    The end of the pipe alone does not show that: a process forked from it may hold it open.
    """
    while os.getppid() == process:
        if select.select([0], [], [], SECONDS)[0]:
            return os.read(0, 1) != DONE
    return True


def mark_crashed(flow_run: str, message: str) -> None:
    """Set the flow run's state, unless it already has a final one or waits to be resumed."""
    from uuid import UUID

    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run)).state
        if state is None or not (state.is_final() or state.is_scheduled()):
            client.set_flow_run_state(UUID(flow_run), Crashed(message=message))


def end(flow_run: str) -> None:
    """Mark the flow run, and let Prefect start it again if it has a slot to continue."""
    from ratchet.components.storage.home import Home
    from ratchet.flows.reconcile import reconcile

    mark_crashed(flow_run, VANISHED)
    time.sleep(SECONDS_TO_SETTLE)  # Prefect's worker reports the crash as well, which must not come after the new state
    reconcile(Home.here(), lambda text: print(text, file=sys.stderr))


if __name__ == "__main__" and vanished(int(sys.argv[2])):
    end(sys.argv[1])
