"""Reward functions that exit, vanish, fork and print, through the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MICRO = str(ROOT / "tests" / "recipes" / "micro.yaml")
HEAD = """
import os, subprocess, sys
from components.rewards.protocol import Score

def scores(prompts, completions, rows):
    return [Score(1.0, {}) for _ in completions]
"""
FUNCTIONS = """
def leaves(*batch):
    sys.exit(0)

def vanishes(*batch):
    os._exit(0)

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


def ratchet(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{project}:{ROOT}", "OMP_NUM_THREADS": "1"}
    environment.pop("PREFECT_HOME", None)
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=280, check=False)


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


def test_a_process_that_vanishes_is_an_error(functions: Path) -> None:
    assert "ended with exit code 0 and left no result" in error_of(score(functions, "my_rewards:vanishes"))


def test_a_forked_process_does_not_go_on_and_stdout_is_the_results_alone(functions: Path) -> None:
    done = score(functions, "my_rewards:forks_and_prints")
    assert (done.returncode, done.stdout) == (0, '{"total": 1.0, "parts": {}}\n')
    assert {"printed", "written", "echoed"} <= set(done.stderr.splitlines())
    assert done.stderr.count("my_rewards:forks_and_prints forked process") == 1


@pytest.mark.slow
def test_a_run_that_vanished_in_training_is_resumed(project: Path) -> None:
    verify = "from components.rewards.verifier import verify as scores\n"
    (project / "my_rewards.py").write_text(HEAD + verify + ONCE, encoding="utf-8")
    settings = ["reward.kind=custom", "reward.function=my_rewards:once", "policy.warmup.steps=100", "train.steps=4"]
    arguments = ["--recipe", MICRO, "--json", *(f"--set={value}" for value in settings)]
    assert json.loads(ratchet(project, "reward", "validate", *arguments).stdout)["status"] == "finished"
    (project / "vanish").touch()
    assert "left no result" in error_of(ratchet(project, "train", *arguments))
    assert json.loads(ratchet(project, "train", *arguments).stdout)["status"] == "finished"
