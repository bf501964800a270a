"""How the little user code that runs in the pipeline's own process (tasks of a benchmark's library) can neither end a run as if
the run had succeeded, nor run the pipeline twice by forking. Functions run in ``graders.worker``.
"""

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ratchet.components.errors import RatchetError, RewardError

FORKED = 70  # exit code of a forked process that would continue the pipeline (EX_SOFTWARE of sysexits.h)

_owner: int | None = None  # the process that runs the pipeline, once there is one


@contextmanager
def user_code(source: str, remedy: str, error: type[RatchetError] = RewardError) -> Iterator[None]:
    """Import or call a user's code. A process that it forks ends with the block, whether the code returns or raises there.

    Exceptions pass, and so do operator requests: KeyboardInterrupt, and what a signal handler raises that
    was installed before the block. That handler and the working directory are restored after the block.

    Raises:
        RatchetError: of class ``error``, on SystemExit and everything else that is not an Exception.
    """
    check_process()
    process, handlers, directory = os.getpid(), _handlers(), os.getcwd()
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as end:
        if _raised_by(handlers, end):
            raise
        raise error(f"{source} raised {end!r:.200}, which would end the run. {remedy}") from end
    finally:
        if os.getpid() != process:
            _end_fork(source)
        _put_back(handlers)
        os.chdir(directory)


def own_process() -> None:
    """This process runs the pipeline; processes forked from it do not."""
    global _owner
    _owner = os.getpid()


def check_process() -> None:
    """End a fork of the process that runs the pipeline."""
    if _owner is not None and os.getpid() != _owner:
        _end_fork("code of the recipe")


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def _raised_by(handlers: dict[int, Any], error: BaseException) -> bool:
    codes = [getattr(handler, "__code__", None) for handler in handlers.values()]
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _put_back(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():  # user code could not replace these
        return
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:  # None: not installed from Python
            signal.signal(number, handler)


def _end_fork(source: str) -> NoReturn:
    # Neither sys.stderr nor sys.exit: the buffers and the exit handlers are copies of the parent's.
    os.write(2, f"{source} forked process {os.getpid()}, which ends here. End forked processes with os._exit().\n".encode())
    os._exit(FORKED)
