"""A program that ends, with everything it started, when process PID does.

``python -m ratchet.flows.servers.supervisor PID COMMAND ...``: PID is the parent. Programs that are not ours and
do not notice the end of their parent run under this: MLflow's server and its workers.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ratchet.flows.servers.watcher import vanished

SECONDS_TO_STOP = 5
POLL = 0.2


def supervise(parent: int, command: Sequence[str]) -> int:
    """Run a command in its own session until it ends, SIGTERM or SIGINT comes, or the parent is gone; its exit code."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: received.append(number))
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not received:
        time.sleep(POLL)
    return _end_group(process)


def _end_with_parent(parent: int) -> None:
    vanished(parent)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_group(process: subprocess.Popen[bytes]) -> int:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
        os.killpg(process.pid, signal.SIGKILL)  # its workers, if any are left
    return process.wait()


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
