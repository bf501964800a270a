"""The process between the pipeline and a user's function; run as a script by ``process``.

It forks the process that serves the function (``child``) before anything is imported, adopts every orphan of it, watches how
many processes there are and how much memory they take, and ends them all when a limit is exceeded, when the function's process
has ended, or when the pipeline closes the pipe ``control`` or is gone. RLIMIT_NPROC would not do: it does not bind root, and
counts all processes of a user. Where there is no /proc (macOS), psutil finds the processes and nothing adopts orphans: one that
has left the function's process group and lost its parent is not found.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PERIOD = 0.02  # seconds between two looks
WHILE_LOADING = 4 * 2**30  # bytes that imports may take
READY = b"r"  # on control: the function is loaded, and memory counts from here
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "statm").exists()


def main() -> None:
    channel, control, status = (int(argument) for argument in sys.argv[1:4])
    settings = json.loads(sys.argv[4])
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    parent, keeper = os.getppid(), os.getpid()
    child = os.fork()
    if child == 0:
        os.close(control)
        os.close(status)
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:
            serve(channel, settings)
        os._exit(1)
    os.close(channel)
    os.write(status, json.dumps(watch(child, parent, control, settings["limits"])).encode())
    end_all(child)


def serve(channel: int, settings: dict[str, Any]) -> None:
    """In the forked process: what the function may import, then its work."""
    sys.path[:0] = [settings["root"]]
    sys.path.append(settings["package"])  # last: the user's modules and the installed ones come first
    from ratchet.components.graders.worker.child import serve

    serve(channel, settings["limits"])


def prctl(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):  # macOS
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def watch(child: int, parent: int, control: int, limits: dict[str, Any]) -> dict[str, Any]:
    """Wait until the function's process must end: its ``status`` as subprocess gives it, the ``limit``, or nothing."""
    imports = WHILE_LOADING
    while os.getppid() == parent:
        if select.select([control], [], [], PERIOD)[0]:
            if os.read(control, 1) != READY:
                return reaped(child)
            imports = sum(map(_proportional, descendants()))
            continue
        ended = reaped(child)
        if ended:
            return ended
        running = descendants()
        if len(running) - 1 > limits["processes"]:
            return {"limit": "processes"}
        if exceeds(running, imports + limits["memory_mb"] * 2**20):
            return {"limit": "memory"}
    return {}


def reaped(child: int) -> dict[str, Any]:
    """Reap all that has ended; the status of the function's process if that is among them."""
    found: dict[str, Any] = {}
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = {"status": os.waitstatus_to_exitcode(ended[1])}
    return found


def descendants() -> list[int]:
    """Every process below this one, zombies included."""
    if not HAS_PROC:
        import psutil

        return [child.pid for child in psutil.Process().children(recursive=True)]
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = [child for task in _tasks(waiting.pop()) for child in _children(task)]
        found += children
        waiting += children
    return found


def _tasks(process: int) -> list[Path]:
    with suppress(OSError):
        return list((PROC / str(process) / "task").iterdir())
    return []


def _children(task: Path) -> list[int]:
    with suppress(OSError):
        return [int(number) for number in (task / "children").read_text(encoding="ascii").split()]
    return []


def exceeds(processes: list[int], most: int) -> bool:
    """Whether they take more bytes of real memory. What they share is divided among them, which costs more to read."""
    return sum(map(_resident, processes)) > most and sum(map(_proportional, processes)) > most


def _resident(process: int) -> int:
    if not HAS_PROC:
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(process).memory_info().rss)
        return 0
    with suppress(OSError):
        return int((PROC / str(process) / "statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return 0


def _proportional(process: int) -> int:
    if not HAS_PROC:  # where no system call divides what is shared
        return _resident(process)
    with suppress(OSError):
        for line in (PROC / str(process) / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def end_all(child: int, seconds: float = 10.0) -> None:
    """Kill the function's process and all that it left. A group is killed at once, so that it cannot outrun this by forking."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        running = descendants()
        for process in running:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        reaped(child)
        if not running:
            return
        time.sleep(PERIOD / 4)


if __name__ == "__main__":
    main()
