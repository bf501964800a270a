"""Run an evaluation library without leaving changes in this process, with errors that name the benchmark."""

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ratchet.components.code.user_code import user_code
from ratchet.components.errors import DataError, RatchetError
from ratchet.components.recipe import Library

MODULES = {"lm_eval": "lm_eval", "inspect": "inspect_ai"}  # the module that a kind of benchmark imports


@contextlib.contextmanager
def contained(name: str, benchmark: Library) -> Iterator[Path]:
    """Give a scratch folder to a library's run, and restore what it changes in this process.

    It writes no bytecode next to the user's files, no log, trace or progress bar, and standard output
    stays the caller's: it may be JSON.

    Raises:
        DataError: for any error of the library, with its first line, and if a task would have ended the run.
    """
    root, hook, bytecode = logging.getLogger(), sys.excepthook, sys.dont_write_bytecode
    level, handlers = root.level, list(root.handlers)
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder, _environment(_places(folder)):
        sys.dont_write_bytecode = True
        try:
            with (
                contextlib.redirect_stderr(io.StringIO()),
                contextlib.redirect_stdout(io.StringIO()),
                user_code(f"benchmark {name}: {benchmark.task}", f"Correct evaluation.benchmarks.{name}.", DataError),
            ):
                yield Path(folder)
        except RatchetError:
            raise
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = f"{MODULES[benchmark.kind]} cannot run {benchmark.task}"
            raise DataError(f"benchmark {name}: {what}: {said}. Correct evaluation.benchmarks.{name}.") from error
        finally:
            sys.dont_write_bytecode, sys.excepthook = bytecode, hook
            root.setLevel(level)
            root.handlers[:] = handlers


def _places(folder: str) -> Mapping[str, str]:
    # Not XDG_CACHE_HOME: datasets reads it once, at import. The trace never goes to a device: inspect_ai deletes its
    # trace file when the process ends, /dev/null as well where it may.
    return {"XDG_DATA_HOME": folder, "INSPECT_LOG_DIR": folder, "INSPECT_TRACE_FILE": os.path.join(folder, "trace.log")}


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
