"""A user's code can neither end a run nor go on with it in a forked process."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ratchet.components.code.user_code import FORKED, user_code
from ratchet.components.errors import DataError, RatchetError, RewardError

FORKS = """
import os, sys
from ratchet.components.code.user_code import own_process, user_code
def forked():
    with user_code("my:reward", "Return a Grade."):
        if os.fork() == 0:
            {ending}
        return os.wait()[1] >> 8
print("exit code", forked(), flush=True)
"""


def call(error: BaseException, kind: type[RatchetError] = RewardError) -> None:
    with user_code("my:reward", "Return a Grade.", kind):
        raise error


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), asyncio.CancelledError(), BaseException("odd")], ids=repr)
def test_what_would_end_the_process_is_an_error_of_the_code(error: BaseException) -> None:
    with pytest.raises(RewardError, match=rf"my:reward raised {type(error).__name__}\(.*Return a Grade\.") as raised:
        call(error)
    assert raised.value.__cause__ is error


def test_the_class_of_the_error_is_the_callers() -> None:
    with pytest.raises(DataError):
        call(SystemExit(0), DataError)


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(), KeyboardInterrupt()], ids=repr)
def test_exceptions_and_ctrl_c_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        call(error)
    assert raised.value is error


def test_what_the_handler_of_a_signal_raises_passes() -> None:
    def terminated(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        with pytest.raises(SystemExit) as raised, user_code("my:reward", "Return a Grade."):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised.value.code == 143


def test_a_handler_that_the_code_installs_is_code_like_any_other() -> None:
    def cleanup(*_: object) -> None:
        raise SystemExit(0)

    def reward() -> None:
        with user_code("my:reward", "Return a Grade."):
            signal.signal(signal.SIGTERM, cleanup)
            cleanup()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RewardError, match=r"SystemExit\(0\)"):
        reward()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: sys.exit(0)], ids=["ignored", "exits"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_handlers_of_before_are_there_again(number: signal.Signals, handler: Any) -> None:
    before = signal.getsignal(number)
    with user_code("my:reward", "Return a Grade."):
        signal.signal(number, handler)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("ends", [None, ValueError, SystemExit])
def test_the_working_directory_is_that_of_before(ends: type[BaseException] | None, tmp_path: Path) -> None:
    def reward() -> None:
        with user_code("my:reward", "Return a Grade."):
            os.chdir(tmp_path)
            if ends:
                raise ends

    before = Path.cwd()
    with pytest.raises((ValueError, RewardError)) if ends else contextlib.nullcontext():
        reward()
    assert Path.cwd() == before


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("ending", ["return 'child'", "raise ValueError", "sys.exit(0)"])
def test_a_forked_process_ends_where_it_leaves_the_code(ending: str) -> None:
    done = run(FORKS.format(ending=ending))
    assert done.stdout == f"exit code {FORKED}\n"
    assert "my:reward forked process" in done.stderr


def test_a_forked_process_may_end_by_itself() -> None:
    done = run(FORKS.format(ending="os._exit(5)"))
    assert (done.stdout, done.stderr) == ("exit code 5\n", "")


def test_a_process_forked_anywhere_else_ends_at_the_next_check() -> None:
    program = """
import os
from ratchet.components.code.user_code import check_process, own_process
check_process(); own_process(); check_process()
if os.fork() == 0:
    check_process()
    print("goes on")
else:
    print("exit code", os.wait()[1] >> 8)
"""
    assert run(program).stdout == f"exit code {FORKED}\n"
