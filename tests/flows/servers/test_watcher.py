"""Who watches a run's process tells apart that it is done and that it is gone."""

import contextlib
import subprocess
import sys

import pytest

from ratchet.flows.servers.watcher import watched

WATCH = "import sys; from ratchet.flows.servers.watcher import vanished; print(vanished(int(sys.argv[1])), flush=True)"
PROGRAM = f"""
import os, subprocess, sys, time
process = subprocess.Popen([sys.executable, "-c", {WATCH!r}, str(os.getpid())], stdin=subprocess.PIPE)
{{ending}}
"""


@pytest.mark.parametrize(
    ("ending", "gone"),
    [
        ("process.communicate(b'.')", False),
        ("os._exit(0)", True),
        ("if os.fork() == 0: time.sleep(8)\ntime.sleep(0.5)\nos._exit(0)", True),  # the forked process holds the pipe
        ("os.kill(os.getpid(), 9)", True),
    ],
    ids=["done", "vanished", "forked", "killed"],
)
def test_what_became_of_the_process(ending: str, gone: bool) -> None:
    program = [sys.executable, "-c", PROGRAM.format(ending=ending)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{gone}\n"


@pytest.mark.parametrize("error", [None, SystemExit(0), KeyboardInterrupt()], ids=repr)
def test_a_run_that_leaves_the_block_is_done_however_it_leaves(
    error: BaseException | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(BaseException), watched("no-id: to mark this one would fail"):
        if error is not None:
            raise error
    assert capfd.readouterr().err == ""
