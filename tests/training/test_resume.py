"""The kill campaign of the training loop: whatever kills it, a resumed run ends bitwise where an uninterrupted one does."""

import multiprocessing
import multiprocessing.process
import random
import signal
import time
from pathlib import Path

import pytest

from tests.training.resume_runs import STEPS, VARIANTS, figures, outcome, steps_taken, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# A server that has imported torch once, and forks a process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.resume_runs"])
MIN_POINTS = 12  # 3 in each of 4 saves; fewer would make the campaign empty


def start(variant: str, root: Path, kill_at: int | None = None) -> multiprocessing.process.BaseProcess:
    """A training process."""
    root.mkdir(exist_ok=True)
    process = PROCESSES.Process(target=train, args=(variant, root, None if kill_at is None else str(kill_at)))
    process.start()
    return process


def run(variant: str, root: Path, kill_at: int | None = None) -> int | None:
    """Exit code of a training process; a signal's number is negative."""
    process = start(variant, root, kill_at)
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module", autouse=True)
def warm_server() -> None:
    """The first process waits for the server's imports, and would spoil what is measured of it."""
    first = PROCESSES.Process(target=int)
    first.start()
    first.join()


@pytest.fixture(scope="module", params=VARIANTS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, float]:
    """A variant, the directory of its uninterrupted run, and the seconds that took."""
    root = tmp_path_factory.mktemp("whole")
    started = time.monotonic()
    assert run(request.param, root) == 0
    return request.param, root, time.monotonic() - started


def same_end(root: Path, whole: Path) -> bool:
    return outcome(root) == outcome(whole) and figures(root) == figures(whole)


def test_a_run_killed_at_any_point_ends_where_an_uninterrupted_one_does(whole: tuple[str, Path, float], tmp_path: Path) -> None:
    variant, expected, _ = whole
    point = 0
    while True:
        point, root = point + 1, tmp_path / str(point + 1)
        code = run(variant, root, kill_at=point)
        if code == 0:
            break  # it has fewer points than that
        assert code == -signal.SIGKILL
        committed = max((int(p.name[5:]) for p in root.glob("step_*")), default=0)
        before = len(steps_taken(root)) if (root / "steps.log").exists() else 0
        assert run(variant, root) == 0
        # Not from the start, and nothing that is durable is done again:
        assert steps_taken(root)[before:] == list(range(committed + 1, STEPS + 1)), f"killed at point {point}"
        assert same_end(root, expected), f"killed at point {point}"
    assert point > MIN_POINTS


def test_a_run_killed_again_and_again_at_random_instants_ends_there_too(whole: tuple[str, Path, float], tmp_path: Path) -> None:
    variant, expected, seconds = whole
    instants = random.Random(variant)  # noqa: S311 - instants, not secrets
    for _ in range(6):
        process = start(variant, tmp_path)
        process.join(instants.uniform(0.1, 1.0) * seconds)
        process.kill()
        process.join()
    assert run(variant, tmp_path) == 0
    assert same_end(tmp_path, expected)


def test_sigterm_commits_the_step_and_ends(whole: tuple[str, Path, float], tmp_path: Path) -> None:
    variant, expected, _ = whole
    process = start(variant, tmp_path)
    while process.is_alive() and not (tmp_path / "steps.log").exists():
        time.sleep(0.005)
    process.terminate()
    process.join(120)
    assert process.exitcode == -signal.SIGTERM
    committed = max(int(p.name[5:]) for p in tmp_path.glob("step_*"))
    assert committed == steps_taken(tmp_path)[-1] < STEPS
    assert run(variant, tmp_path) == 0
    assert steps_taken(tmp_path) == list(range(1, STEPS + 1))  # no step was taken twice
    assert same_end(tmp_path, expected)


def test_a_damaged_checkpoint_is_passed_over(whole: tuple[str, Path, float], tmp_path: Path) -> None:
    variant, expected, _ = whole
    run(variant, tmp_path, kill_at=10)
    newest = sorted(tmp_path.glob("step_*"))[-1]
    weights = newest / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert run(variant, tmp_path) == 0
    assert list(tmp_path.glob("corrupt.*"))
    assert same_end(tmp_path, expected)
