"""Text on its way out of this process, to logs, to stderr and to Prefect: without credentials."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from ratchet.components.text import redacted


def install() -> None:
    """Redact every log record of every library as it is made, and the tracebacks of what nobody catches; idempotent."""
    factory = logging.getLogRecordFactory()
    if not _reaches_ours(factory):
        _made.append(factory)
        logging.setLogRecordFactory(_redacted_record)
        sys.excepthook = _print_redacted
        threading.excepthook = lambda thread: _print_redacted(thread.exc_type, thread.exc_value, thread.exc_traceback)


_made: list[Any] = []  # the factory before ours
_probed: list[logging.LogRecord] = []


def _reaches_ours(factory: Any) -> bool:
    """Whether a factory is ours or calls it, as a library's does that was imported later (Ray): ours must not call that."""
    if not _made:
        return False
    _probed.clear()
    factory(__name__, logging.DEBUG, __file__, 0, "", (), None)
    return bool(_probed)


def _redacted_record(*arguments: Any, **options: Any) -> logging.LogRecord:
    """A record whose message and traceback are redacted before any handler, filter or formatter sees them."""
    record: logging.LogRecord = _made[-1](*arguments, **options)
    if record.name == __name__:
        _probed.append(record)
    try:
        said = record.getMessage()
        shown = redacted(said)
    except Exception:  # arguments that do not fit: logging would print them
        said, shown = "", redacted(f"{record.msg} (with arguments that do not fit)")
    if shown != said:
        record.msg, record.args = shown, ()
    if record.exc_info and record.exc_info[1] is not None:
        told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        if (shown := redacted(told)) != told:
            record.exc_text, record.exc_info = shown, None
    return record


def _print_redacted(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if kind is not SystemExit:
        print(redacted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


@contextmanager
def without_secrets() -> Iterator[None]:
    """An error leaves the block with its text redacted: Prefect writes it into the run's state, its events and its results."""
    try:
        yield
    except Exception as error:
        shown = redacted_error(error)
        if shown is error:
            raise
        raise shown from error.__cause__ or error.__context__


def redacted_error(error: Exception) -> Exception:
    """The error itself if its text holds no credential; else one of a subclass of the same name, with nothing but that text."""
    text = str(error)
    shown = redacted(text)
    if shown == text and redacted(repr(error)) == repr(error):
        return error
    kind = type(error)
    told = {"__module__": kind.__module__, "__str__": lambda _: shown, "__repr__": lambda _: f"{kind.__name__}({shown!r})"}
    try:
        alike: Exception = kind.__new__(type(kind.__name__, (kind,), told))
        alike.args = (shown,)
    except TypeError:  # a class that is made from more than its arguments
        alike = RuntimeError(f"{kind.__name__}: {shown}")
    return alike.with_traceback(error.__traceback__)
