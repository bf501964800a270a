"""Reward functions that exit, vanish, fork and print, through the real command line."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import commands
from tests.places import ROOT

MICRO = str(ROOT / "tests" / "recipes" / "micro.yaml")
HEAD = """
import json, os, subprocess, sys
from ratchet.components.graders.protocol import Grade

def scores(prompts, completions, rows):
    return [Grade(1.0, {}) for _ in completions]
"""
FUNCTIONS = """
def leaves(*batch):
    sys.exit(0)

def vanishes(*batch):
    os._exit(0)

def leaves_later(*batch):
    json.dumps = lambda *args, **options: sys.exit(0)  # as a timer's handler may, outside of the guard
    return scores(*batch)

def forks_and_prints(*batch):
    print("printed")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"])
    if os.fork() == 0:
        return scores(*batch)  # the parent is not waited for: both would go on
    os.wait()
    return scores(*batch)
"""

ONCE = """
def once(*batch):
    if os.path.exists("vanish"):
        os.remove("vanish")
        os._exit(0)
    return scores(*batch)
"""


def environment(project: Path) -> dict[str, str]:
    return commands.environment(PYTHONPATH=f"{project}:{ROOT}", OMP_NUM_THREADS="1")


def ratchet(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a session of its own, which is ended whole: a process that vanishes leaves its temporary server behind."""
    command = [sys.executable, "-m", "ratchet", *arguments]
    with (project / "stderr").open("w+", encoding="utf-8") as errors:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
        process = subprocess.Popen(command, cwd=project, env=environment(project), start_new_session=True, **pipes)
        try:
            out, _ = process.communicate(timeout=280)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, out, errors.read())


def score(project: Path, function: str) -> subprocess.CompletedProcess[str]:
    (project / "completions.jsonl").write_text('{"prompt": "p", "completion": "c"}\n', encoding="utf-8")
    sets = ["--set=reward.kind=custom", f"--set=reward.function={function}"]
    return ratchet(project, "reward", "score", "completions.jsonl", "--json", "--recipe", MICRO, *sets)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    found: dict[str, Any] = json.loads(done.stdout)  # exactly one object
    assert (done.returncode, found["status"]) == (1, "error")
    return str(found["error"])


@pytest.fixture
def functions(project: Path) -> Path:
    (project / "my_rewards.py").write_text(HEAD + FUNCTIONS, encoding="utf-8")
    return project


def test_exit_is_an_error_of_the_function(functions: Path) -> None:
    assert "my_rewards:leaves raised SystemExit(0)" in error_of(score(functions, "my_rewards:leaves"))


def test_exit_is_an_error_of_the_module(project: Path) -> None:
    (project / "my_script.py").write_text(HEAD + "sys.exit(0)\n", encoding="utf-8")
    assert "my_script:scores raised SystemExit(0), which would end the run. Move" in error_of(
        score(project, "my_script:scores")
    )


@pytest.mark.parametrize("function", ["vanishes", "leaves_later"])
def test_a_process_that_ends_before_the_command_is_an_error(functions: Path, function: str) -> None:
    assert "ended with exit code 0 and left no result" in error_of(score(functions, f"my_rewards:{function}"))


def test_a_forked_process_does_not_go_on_and_stdout_is_the_results_alone(functions: Path) -> None:
    done = score(functions, "my_rewards:forks_and_prints")
    assert (done.returncode, done.stdout) == (0, '{"total": 1.0, "parts": {}}\n')
    assert {"printed", "written", "echoed"} <= set(done.stderr.splitlines())
    assert done.stderr.count("my_rewards:forks_and_prints forked process") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_vanished_in_training_is_resumed(project: Path) -> None:
    verify = "from ratchet.components.graders.number import grade_numbers as scores\n"
    (project / "my_rewards.py").write_text(HEAD + verify + ONCE, encoding="utf-8")
    settings = ["reward.kind=custom", "reward.function=my_rewards:once", "policy.warmup.steps=100", "train.steps=4"]
    arguments = ["--recipe", MICRO, "--json", *(f"--set={value}" for value in settings)]
    assert json.loads(ratchet(project, "reward", "validate", *arguments).stdout)["status"] == "finished"
    (project / "vanish").touch()
    assert "left no result" in error_of(ratchet(project, "train", *arguments))
    assert json.loads(ratchet(project, "train", *arguments).stdout)["status"] == "finished"


@contextlib.contextmanager
def serving(project: Path, *arguments: str) -> Iterator[None]:
    """``ratchet schedule`` in a session of its own, which is ended whole."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "ratchet", "schedule", "--every", "30s", "--prefect-port", port, *arguments]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=project, env=environment(project), start_new_session=True, **quiet)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_states(project: Path) -> list[tuple[str, str]]:
    """Type and message of the states that flow runs ended in, read from Prefect's database."""
    query = """SELECT s.type, s.message FROM flow_run r JOIN flow_run_state s ON r.state_id = s.id
               WHERE s.type IN ('CRASHED', 'FAILED', 'COMPLETED')"""
    database = project / ".ratchet" / "prefect" / "prefect.db"
    if not database.is_file():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_served_run_that_vanishes_with_0_is_crashed(functions: Path) -> None:
    settings = ["reward.kind=custom", "reward.function=my_rewards:vanishes", "policy.warmup.steps=50", "seed=slot"]
    with serving(functions, "--recipe", MICRO, *(f"--set={value}" for value in settings)):
        deadline = time.monotonic() + 400
        states: list[tuple[str, str]] = []
        while not states and time.monotonic() < deadline:
            time.sleep(1)
            with contextlib.suppress(sqlite3.OperationalError):  # locked, or without its tables yet
                states = last_states(functions)
    assert states
    assert states[0][0] == "CRASHED"
    assert "ended without a result" in states[0][1]
