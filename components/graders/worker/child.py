"""The process that runs a user's function: loads it, and answers batches of calls in lines of JSON on a descriptor of its own.

Nothing that the function does to this process ends the run. What it returns is made JSON here: reading it in the pipeline runs
no code of the user, and nothing is ever unpickled.
"""

import fcntl
import importlib
import importlib.util
import json
import math
import os
import resource
import sys
import sysconfig
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from ratchet.components.errors import RatchetError
from ratchet.components.text import redacted

Answer = Callable[[list[dict[str, Any]]], Iterable[Any]]

FORKED = 70  # exit code of a forked process that would answer in its parent's name (EX_SOFTWARE of sysexits.h)
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
LOWEST_DESCRIPTOR = 100  # a number that code counting its own descriptors does not reach
LONGEST_TEXT = 500  # characters of a reason or an answer


class UnfitError(Exception):
    """A result that is not a grade."""


def serve(channel: int, limits: Mapping[str, Any]) -> None:
    """Load the function that the first line names, and answer each line of calls with one line of grades, to the end."""
    private = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)
    os.close(channel)
    process = os.getpid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_mb"] * 2**20,) * 2)
    with os.fdopen(private, "rb") as requests, os.fdopen(os.dup(private), "wb") as replies:
        os.set_inheritable(replies.fileno(), False)

        def reply(value: Mapping[str, Any]) -> None:
            if os.getpid() != process:
                os.write(2, b"a forked process returned to Ratchet, and ends here. End forked processes with os._exit().\n")
                os._exit(FORKED)
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # the function may have closed or replaced it
                    stream.flush()
            replies.write(json.dumps(value).encode() + b"\n")
            replies.flush()

        answer, hello = _loaded(json.loads(requests.readline()))
        reply(hello)
        if answer is None:
            return
        _limit_memory(limits["memory_mb"])
        for line in requests:
            reply(answered(answer, json.loads(line), limits["processes"]))


def _loaded(settings: Mapping[str, Any]) -> tuple[Answer | None, dict[str, Any]]:
    try:
        adapter = getattr(*_split(settings["adapter"], importlib.import_module))
        answer, batch, facts = adapter(load(settings["target"]), settings["options"])
    except RatchetError as error:
        return None, {"failed": str(error), "class": type(error).__name__}
    except BaseException as error:  # SystemExit too
        return None, {"failed": described(error), "class": _why(error)}
    return answer, {"batch": batch, "facts": dict(facts)}


def _why(error: BaseException) -> str:
    """By what remedy errors of importing differ."""
    kinds = {"exit": SystemExit, "name": UnfitError, "syntax": SyntaxError, "absent": ImportError}
    ours = (str(Path(__file__).parent), importlib.__file__, "<frozen")
    in_module = any(not frame.filename.startswith(ours) for frame in traceback.extract_tb(error.__traceback__))
    return next((why for why, kind in kinds.items() if isinstance(error, kind)), "raised" if in_module else "name")


def _split(name: str, load_module: Callable[[str], ModuleType]) -> tuple[ModuleType, str]:
    module, _, attribute = name.rpartition(":")
    return load_module(module), attribute


def load(target: str) -> Callable[..., Any]:
    """The function of ``module:name`` or ``path/to/file.py:name``, relative to the working directory.

    Raises:
        UnfitError: if it is not there, or not a function.
    """
    module, name = _split(target, _load_file if target.rpartition(":")[0].endswith(".py") else importlib.import_module)
    function = getattr(module, name, None)
    if function is None:
        raise UnfitError(f"{module.__name__} has no {name!r}")
    if not callable(function):
        raise UnfitError(f"{name!r} is not a function but of type {type(function).__name__}")
    found: Callable[..., Any] = function
    return found


def _load_file(path: str) -> ModuleType:
    """A file as a module, under its own name unless another module has it; its neighbours can be imported."""
    file = Path(path).absolute()
    other = importlib.util.find_spec(file.stem)
    name = file.stem if other is None or other.origin == str(file) else f"user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    spec.loader.exec_module(module)
    return module


def awaited(result: Any) -> Any:
    """The result of a coroutine or another awaitable; any other value as it is."""
    if not isinstance(result, Awaitable):
        return result
    import asyncio

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def answered(answer: Answer, calls: list[dict[str, Any]], threads: int) -> dict[str, Any]:
    """The grades of a batch of calls, or its fault."""
    try:
        results = results_of(answer(calls), len(calls))
        if threading.active_count() - 1 > threads:
            return fault("processes", f"{threading.active_count() - 1} threads of it still run. Join them, or end them")
        return {"grades": [graded(result) for result in results]}
    except BaseException as error:  # whatever user code raises
        return raised(error)


def raised(error: BaseException) -> dict[str, Any]:
    """The fault that an exception stands for."""
    if isinstance(error, UnfitError):
        return fault("protocol", str(error))
    if isinstance(error, SystemExit):
        return fault("exit", f"it raised {described(error)}")
    return fault("memory" if isinstance(error, MemoryError) else "raised", described(error))


def fault(kind: str, message: str) -> dict[str, Any]:
    return {"fault": kind, "reason": message}


def described(error: BaseException) -> str:
    """The class and text of an exception, and the innermost line of the user's code, not that of a library it calls."""
    own = (str(Path(__file__).parent), "<frozen")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(own)]
    frames = [frame for frame in frames if not frame.filename.startswith(LIBRARIES)] or frames
    known = isinstance(error, UnfitError | SyntaxError)  # whose texts say where
    place = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames and not known else ""
    try:
        said = f"{'' if isinstance(error, UnfitError) else type(error).__name__ + ': '}{error}{place}"
        return redacted(said)[:2_000]  # before the cut, which could leave half a credential
    except Exception:  # its __str__ is user code
        return f"{type(error).__name__}{place}"


def results_of(answer: Any, expected: int) -> list[Any]:
    """One result per call.

    Raises:
        UnfitError: on anything else.
    """
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        raise UnfitError(
            f"it returned a {type(answer).__name__} for {expected} completions. Return a list with one result for each"
        )
    results = list(islice(answer, expected + 1))
    if len(results) != expected:
        count = f"{len(results)}" if len(results) < expected else f"more than {expected}"
        raise UnfitError(f"it returned {count} results for {expected} completions. Return one for each")
    return results


def graded(result: Any) -> dict[str, Any]:
    """A result as JSON: a number, None, or the score, parts, verdict and reason of an object or a dict; else a fault."""
    try:
        return _graded(result)
    except BaseException as error:  # the result's attributes are user code
        return raised(error)


def _graded(result: Any) -> dict[str, Any]:
    if result is None:
        return {"score": None}
    if isinstance(result, bool):
        return {"score": float(result), "passed": result}
    fields = _fields(result)
    if fields is None:
        return {"score": number(result, "a score")}
    score, parts = fields.get("score", fields.get("total")), fields.get("parts") or {}
    passed, answer = fields.get("passed"), fields.get("answer")
    if not isinstance(parts, Mapping):
        raise UnfitError(f"it returned parts of type {type(parts).__name__}. Return a dict of numbers")
    return {
        "score": None if score is None else number(score, "a score"),
        "parts": {_text(name): number(value, f"the part {name}") for name, value in parts.items()},
        "passed": passed if isinstance(passed, bool) else None,
        "reason": _text(redacted(str(fields.get("reason") or ""))[:LONGEST_TEXT]),
        "answer": None if answer is None else _text(answer)[:LONGEST_TEXT],
    }


def _text(value: Any) -> str:
    """A value as text that every encoding can write: JSON that a policy wrote may have half a surrogate pair."""
    return str(value).encode(errors="backslashreplace").decode()


def _fields(result: Any) -> Mapping[str, Any] | None:
    """What a result says of itself by name; None if it can only be a number."""
    if isinstance(result, Mapping):
        if "score" not in result and "total" not in result:
            raise UnfitError(f"it returned a dict without a score: {_shown(dict(result))}")
        return result
    names = [name for name in ("score", "total", "parts", "passed", "reason", "answer") if hasattr(result, name)]
    if "score" not in names and "total" not in names:
        return None
    return {name: getattr(result, name) for name in names}


def number(value: Any, what: str) -> float:
    """A finite float.

    Raises:
        UnfitError: if the value is not one.
    """
    with suppress(AttributeError, ValueError, RuntimeError):  # a scalar of numpy or torch; more than one number is shown below
        value = value.item()
    if isinstance(value, Awaitable):
        raise UnfitError(f"it returned {what} that was never awaited: {_shown(value)}. Make the function async, and await it")
    if not isinstance(value, (int, float)):
        raise UnfitError(f"it returned {what} of type {type(value).__name__}: {_shown(value)}. Return a number, or None")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise UnfitError(f"it returned {what} that is not a finite number: {_shown(value)}. Return a number, or None")
    return found


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except Exception:  # an integer too long for Python to print, or user code
        return f"one of type {type(value).__name__}"


def _limit_memory(megabytes: int) -> None:
    """MemoryError beyond the limit: kinder than the keeper's end. Not RLIMIT_AS, which counts what CUDA only reserves."""
    with suppress(OSError, ValueError):  # macOS
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        most = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
