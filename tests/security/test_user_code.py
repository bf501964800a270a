"""Reward functions that exit, vanish, fork and print, through the real command line."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
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

def crashes(*batch):
    os.kill(os.getpid(), 11)

def leaks(*batch):
    raise ConnectionError("GET https://me:hunter2@judge/v1?api_key=hunter2 failed")

def floats(prompts, completions, rows):
    return [0.5 for _ in completions]

def wrong(sample):
    return 1.0

def forks_and_prints(*batch):
    print("printed")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"])
    if os.fork() == 0:
        return scores(*batch)  # the parent is not waited for: both would go on
    os.wait()
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


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("leaves", r"failed on 1 of 1 completions \(1 exit\).*SystemExit: 0"),
        ("vanishes", r"\(1 exit\).*ended its process with exit code 0"),
        ("crashes", r"\(1 crash\).*SIGSEGV"),
        ("leaks", r"\(1 raised\).*https://\*\*\*@judge/v1\?api_key=\*\*\* failed"),
        ("wrong", r"wrong\(sample\) is a function of no known protocol"),
    ],
)
def test_faults_a_function_that_always_fails_is_an_error_with_its_last_message(
    functions: Path, function: str, message: str
) -> None:
    done = score(functions, f"my_rewards:{function}")
    assert re.search(message, error_of(done))
    assert "hunter2" not in done.stdout + done.stderr


def test_faults_exit_is_an_error_of_the_module(project: Path) -> None:
    (project / "my_script.py").write_text(HEAD + "sys.exit(0)\n", encoding="utf-8")
    assert "my_script:scores' cannot be imported: its module raised SystemExit: 0" in error_of(
        score(project, "my_script:scores")
    )


def test_plain_numbers_are_rewards(functions: Path) -> None:
    assert score(functions, "my_rewards:floats").stdout == '{"total": 0.5, "parts": {}}\n'


def test_a_forked_process_does_not_go_on_and_stdout_is_the_results_alone(functions: Path) -> None:
    done = score(functions, "my_rewards:forks_and_prints")
    assert (done.returncode, done.stdout) == (0, '{"total": 1.0, "parts": {}}\n')
    shown = {line.rpartition(": ")[2] for line in done.stderr.splitlines()}
    assert {"printed", "written", "echoed"} <= shown
    assert done.stderr.count("a forked process returned to Ratchet") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_faults_a_run_whose_reward_function_always_exits_ends_with_its_last_error(functions: Path) -> None:
    settings = ["reward.kind=custom", "reward.function=my_rewards:vanishes", "policy.warmup.steps=50"]
    arguments = ["--recipe", MICRO, "--json", *(f"--set={value}" for value in settings)]
    assert "ended its process with exit code 0" in error_of(ratchet(functions, "run", *arguments))
