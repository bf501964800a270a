"""Where there is no /proc, processes and their memory are found by psutil."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ratchet.components.graders.worker import keeper

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
GONE = 2**22 + 1  # beyond Linux's largest number of a process


@pytest.fixture
def child() -> Iterator[int]:
    """A process that has one of its own."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize("has_proc", [True, False])
def test_every_process_below_this_one_is_found(child: int, has_proc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "HAS_PROC", has_proc)
    found = keeper.descendants()
    assert child in found
    assert len(found) >= 2
    assert os.getpid() not in found


def test_memory_is_that_of_proc(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = keeper._resident(child)
    monkeypatch.setattr(keeper, "HAS_PROC", False)
    assert keeper._resident(child) == expected > 0
    assert keeper._resident(GONE) == keeper._proportional(GONE) == 0
