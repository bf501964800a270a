"""Training gives the numbers that it gave when they were last looked at, and the same bits every time.

Only runs in one environment are bitwise equal: another processor, BLAS or number of threads sums in another order. The
differences start in the last digits of fp32 (1e-7) and grow with every step, through Adam above all, which divides small
gradients by themselves. Between instruction sets (SSE, AVX2, AVX-512) and thread counts they stayed below a twentieth of the
tolerance. Such a digit could also turn a draw, and everything after it; the seeds are chosen so that none is that close.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.tiny_models import same
from tests.training.golden import COLUMNS, GOLDEN, RUNS, Trajectory, trained
from tests.training.toy import everything

RELATIVE, ABSOLUTE = 1e-3, 2e-5
KNOWN = json.loads(GOLDEN.read_text(encoding="utf-8"))

Run = Callable[[str], tuple[list[torch.Tensor], Trajectory]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Each run, done once for both tests."""

    @cache
    def run(name: str) -> tuple[list[torch.Tensor], Trajectory]:
        trainer, trajectory = trained(name, KNOWN[name]["seed"], tmp_path_factory.mktemp("golden"))
        return everything(trainer), trajectory

    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_the_numbers_that_are_known(first: Run, name: str) -> None:
    for column in (*COLUMNS, "weights"):
        assert first(name)[1][column] == pytest.approx(KNOWN[name][column], rel=RELATIVE, abs=ABSOLUTE), column


@pytest.mark.parametrize("name", RUNS)
def test_two_runs_in_one_environment_are_bitwise_equal(first: Run, tmp_path: Path, name: str) -> None:
    trainer, trajectory = trained(name, KNOWN[name]["seed"], tmp_path)
    assert same(everything(trainer), first(name)[0])
    assert trajectory == first(name)[1]


def test_every_known_run_is_still_made() -> None:
    assert KNOWN.keys() == RUNS.keys()
