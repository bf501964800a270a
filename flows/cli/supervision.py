"""Verbs that run a user's code do so in a child process: if that code ends the process, the parent reports an error.

The child is the same command again. Its stdout is stderr; its output, its exit code and its error are passed to the parent
in an unnamed file, once the command itself has ended: a ``sys.exit(0)`` from anywhere else leaves it empty. A pipe
to which no process writes tells the child when its parent is gone. The parent imports nothing heavy.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, Literal, NoReturn

from ratchet.components.code.user_code import check_process, own_process
from ratchet.components.interruption import signal_name
from ratchet.components.launch.watchdog import STALLED
from ratchet.components.text import redacted
from ratchet.flows.cli.options import invocation
from ratchet.flows.cli.output import as_json

DESCRIPTORS = "RATCHET_SUPERVISED"  # for the child only: the file and the pipe
LOWEST_DESCRIPTOR = 100  # a number that code counting its own descriptors does not reach
PASSED_ON = (signal.SIGTERM, signal.SIGINT)
SECONDS_TO_END = 1.2  # after Ctrl-C; a killed run resumes too
CLEAN = "\x1b[?25h\r\x1b[2K"  # shows the cursor and clears the line: a killed child may have left both
INTERRUPTED = 128 + signal.SIGINT
JSON = "--json"
RESUME = "run the same command again to resume where it stopped"


@dataclass
class Ending:
    """How a command ends: its exit code (None until it has ended), its output on stdout, and its error."""

    code: int | None = None
    output: str = ""
    error: str | None = None


@dataclass
class Role:
    """Which process this is; ``alone`` if a verb is not called by ``main``."""

    name: Literal["alone", "parent", "child"] = "alone"
    file: int = -1  # of the child: where it writes its ending
    remedy: str = RESUME  # what is said after a signal


_role = Role()
_ending = Ending()


def begin() -> None:
    """Called first by ``main``. Open what the caller closed. In a child: redirect stdout to stderr, end with the parent."""
    _open_standard_files()
    descriptors = os.environ.pop(DESCRIPTORS, None)
    if descriptors is None:
        _role.name = "parent"
        return
    _role.name = "child"
    _role.file, pipe = (_moved(int(number)) for number in descriptors.split())
    own_process()
    signal.signal(signal.SIGINT, _interrupt_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()


def continue_in_child() -> None:
    """Return in a child process only; the parent waits for it, prints its output, and exits with its code."""
    if _role.name != "parent":
        return
    with tempfile.TemporaryFile() as file:
        status, received = _wait_for_child(file.fileno())
        file.seek(0)  # the child moved the position, which is shared
        ending = _left(file.read()) or _vanished(status, received)
    if ending.code == INTERRUPTED and sys.stderr.isatty():
        print(CLEAN, end="", file=sys.stderr)
    if ending.output:
        emit(ending.output)
    _ending.error = ending.error
    raise SystemExit(ending.code)


def emit(text: str) -> None:
    """Print on the command's stdout, which is reserved for JSON."""
    _ending.output = text
    if _role.name != "child":
        print(text)


def conclude(code: int = 0) -> NoReturn:
    """Exit, because the command has finished. No other exit with 0 counts as success."""
    _ending.code = code
    raise SystemExit(code)


def fail(message: str, code: int) -> NoReturn:
    """Print the error and exit; with ``--json``, :func:`end` prints it as an object too."""
    _ending.code, _ending.error = code, redacted(message)
    if not (_role.name == "child" and code == INTERRUPTED):  # the parent prints it, even if it has to kill this process
        print(f"error: {_ending.error}", file=sys.stderr)
    raise SystemExit(code)


def after_signal(remedy: str) -> None:
    """What to say if a signal ends this command, of which there is nothing to resume."""
    _role.remedy = remedy


def signalled(how: str) -> str:
    """The error of a command that a signal ended."""
    return f"{how}; {_role.remedy}"


def is_failing() -> bool:
    """Whether the command is already exiting with an error."""
    return _ending.error is not None


def end(exiting: SystemExit) -> None:
    """Called last by ``main``. A child leaves its ending to the parent; any other prints, with ``--json``, its error."""
    if _role.name == "child":
        _hand_over()
    elif exiting.code and not _ending.output and JSON in sys.argv[1:]:
        # Typer exits while it handles the error of a wrong usage, which it has printed.
        emit(as_json(error_result(_ending.error or redacted(str(exiting.__context__ or "")))))


def error_result(message: str | None) -> dict[str, Any]:
    """The shape of ``run --json`` for a command that failed."""
    from ratchet.components.run.outcome import RunResult, Status

    return {**RunResult(Status.ERROR).as_json(), "error": message}


def _hand_over() -> None:
    """Write the ending for the parent, if the command has ended. What happens to this process afterwards has no effect."""
    check_process()
    if _ending.code is None:  # code of the recipe raised SystemExit
        return
    with os.fdopen(_role.file, "wb") as file:
        file.write(json.dumps(asdict(_ending)).encode())


def _open_standard_files() -> None:
    """Open those of files 0 to 2 that the caller closed, so that no other file gets the number of stdout or stderr."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stderr is None:  # print(file=None) would use stdout
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _wait_for_child(file: int) -> tuple[int, list[int]]:
    """The child's status as subprocess gives it, and the signals received meanwhile."""
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if process is None:
            return
        if number == signal.SIGINT:
            _end_soon(process, 0.0 if len(received) > 1 else SECONDS_TO_END)
        if not (number == signal.SIGINT and _in_foreground()):
            process.send_signal(number)

    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    read, write = os.pipe()
    for descriptor in (file, read):
        os.set_inheritable(descriptor, True)
    command = [sys.executable, *sys.orig_argv[1:]]
    # The files that the caller opened stay open: an argument may be one of them (/dev/fd/63).
    child = {**os.environ, DESCRIPTORS: f"{file} {read}"}
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # in the child until it can handle them
    process = subprocess.Popen(command, close_fds=False, env=child, cwd=invocation.folder)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    os.close(read)
    for early in list(received):
        process.send_signal(early)
    status = process.wait()  # not for the end of a pipe: processes that the user's code left running may hold it open
    os.close(write)
    return status, received


def _end_soon(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Kill a process that does not end by itself in this time."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()


def _in_foreground() -> bool:
    """Whether Ctrl-C in the terminal also reaches the child."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _left(data: bytes) -> Ending | None:
    """The ending that the child wrote; None if there is none or it is incomplete or malformed."""
    try:
        found = Ending(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    code = type(found.code) is int and 0 <= found.code <= 255  # True is also an int
    return found if code and isinstance(found.output, str) and isinstance(found.error, str | None) else None


def _vanished(status: int, received: list[int]) -> Ending:
    # With 0 by a handler that the recipe's code installed; after Ctrl-C, killed by us.
    stopped = received[0] if received and (status == 0 or signal.SIGINT in received) else -status
    if stopped in received:
        return Ending(128 + stopped, error=f"{'interrupted' if stopped == signal.SIGINT else 'terminated'}; {RESUME}")
    if status == STALLED:
        did = "what every thread did is in .ratchet/stalls"
        message = f"a phase of training hung; {did}. Correct what it waits for, and {RESUME}."
        print(f"error: {message}", file=sys.stderr)
        return Ending(1, error=message)
    how = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with exit code {status}"
    message = (
        f"the process that runs the recipe {how} and left no result. Causes: the machine is out of memory (SIGKILL); a library "
        f"crashes; a benchmark's task calls os._exit(), or sys.exit() in a signal or timer handler. "
        f"Correct the cause, and {RESUME}."
    )
    print(f"error: {message}", file=sys.stderr)
    return Ending(1, error=message)


def _moved(descriptor: int) -> int:
    """The same file under a high number, which programs started by the user's code do not inherit."""
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)
    os.close(descriptor)
    return number


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # the second one is the parent's to act upon
    raise KeyboardInterrupt


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGKILL)
