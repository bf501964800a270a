"""A supervised program ends, with all that it started, however its supervisor's parent ends."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

# A program and a worker of its, which would outlive their parents by a minute.
PROGRAM = """
import os, signal, time
signal.signal(signal.SIGTERM, {handler})
os.fork()
os.write(1, b"%d\\n" % os.getpid())
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
command = [sys.executable, "-m", "ratchet.flows.servers.supervisor", str(os.getpid()), sys.executable, "-c", sys.argv[1]]
subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
fork = os.fork()
if fork == 0:
    os.close(1)
    time.sleep(60)
os.write(1, b"%d\\n" % fork)
time.sleep(60)
"""


@contextlib.contextmanager
def family(handler: str) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """A parent that forked, and a program and its worker under a supervisor of its."""
    command = [sys.executable, "-c", PARENT, PROGRAM.format(handler=handler)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        started = [psutil.Process(int(process.stdout.readline())) for _ in range(3)]
        try:
            yield process, [each for each in started if each.ppid() != process.pid]
        finally:
            for each in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            process.kill()


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", pytest.param("signal.SIG_IGN", marks=pytest.mark.slow)])
def test_a_program_ends_with_a_parent_that_is_killed(handler: str) -> None:
    with family(handler) as (process, program):
        assert len(program) == 2
        process.kill()
        assert psutil.wait_procs(program, 20)[1] == []


def test_a_program_ends_with_its_supervisor() -> None:
    with family("signal.SIG_DFL") as (_, program):
        (supervisor,) = {each.parent() for each in program} - set(program)
        supervisor.terminate()
        assert psutil.wait_procs(program, 20)[1] == []


def test_the_exit_code_is_the_programs() -> None:
    command = [
        sys.executable,
        "-m",
        "ratchet.flows.servers.supervisor",
        str(os.getpid()),
        sys.executable,
        "-c",
        "raise SystemExit(3)",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 3
