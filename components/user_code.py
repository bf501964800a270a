"""User code: where it is, and how the little of it that runs in the pipeline's own process (tasks of a benchmark's library) can
neither end a run as if the run had succeeded, nor run the pipeline twice by forking. Functions run in ``graders.worker``.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NoReturn

from ratchet.components.digests import file_digest
from ratchet.components.errors import RatchetError, RecipeError, RewardError

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


def function_digests(functions: Iterable[str], digest: Callable[[Path], str] = file_digest) -> dict[str, str]:
    """sha256 of the files that a user's own functions may run, so that an edit of them is a changed key.

    Args:
        digest: gives the sha256 of a file.
    """
    return {
        f"reward_function/{name}/{number}": digest(file)
        for name in functions
        for number, file in enumerate(function_files(name))
    }


def function_files(function: str, key: str = "reward.function") -> list[Path]:
    """The files of a user's own function: every module of its package, since it may import any; or its one module or file.

    Nothing is imported: importing runs code of the user.

    Args:
        key: the recipe's key that names the function, for messages.

    Raises:
        RecipeError: if there is no such module or file.
    """
    module = function.rpartition(":")[0]
    own, folders = (project_root() / module, []) if module.endswith(".py") else _found(module)
    if own is None or not own.is_file():
        raise RecipeError(
            f"{key} {function!r}: there is no {module!r} in {project_root()} or among the installed packages. "
            "Write module:function or path/to/file.py:function."
        )
    return sorted({own, *(file for folder in folders for file in Path(folder).rglob("*.py"))})


def _found(module: str) -> tuple[Path | None, list[str]]:
    """A module's file, and the folders of its top package."""
    first, *rest = module.split(".")
    if not all(name.isidentifier() for name in (first, *rest)):
        return None, []
    spec = PathFinder.find_spec(first, [str(project_root())]) or _installed(first)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for number in range(len(rest)):
        inside = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join([first, *rest[: number + 1]]), inside) if inside else None
    return (Path(spec.origin) if spec and spec.origin else None), folders


def _installed(module: str) -> ModuleSpec | None:
    """Found by any finder, such as that of an editable install; none of them runs a top-level module."""
    specs = (finder.find_spec(module, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def project_root() -> Path:
    """The nearest folder upwards with a ``ratchet.yaml``, else the working directory: user code is found from there."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "ratchet.yaml").is_file()), here)


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
