"""Named crash points at every commit, at which tests can kill a process.

``RATCHET_KILL_AT=<n>`` sends SIGKILL at the n-th point the process passes, or at the first whose name begins so;
``RATCHET_FAULT_LOG=<file>`` records the points passed. Neither is set outside tests, where a point costs one dictionary
lookup.
"""

import itertools
import os
import signal

_passed = itertools.count(1)


def point(name: str) -> None:
    """Mark an instant between two durable writes."""
    if "RATCHET_KILL_AT" not in os.environ and "RATCHET_FAULT_LOG" not in os.environ:
        return
    number = next(_passed)
    log = os.environ.get("RATCHET_FAULT_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{number} {name}\n")
    wanted = os.environ.get("RATCHET_KILL_AT", "")
    if wanted == str(number) or (not wanted.isdigit() and wanted and name.startswith(wanted)):
        os.kill(os.getpid(), signal.SIGKILL)
