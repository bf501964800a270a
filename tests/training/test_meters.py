"""Means with their own denominators, and where the time goes."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.training.meters import Means, Phases

Parts = list[tuple[float, int]]


def means(parts: Parts, name: str = "x") -> Means:
    gathered = Means()
    for total, count in parts:
        gathered.add(name, total, count)
    return gathered


def test_each_figure_has_its_own_denominator() -> None:
    figures = Means()
    figures.add("a", 6.0, 2)
    figures.add("a", 3.0, 1)
    figures.add("b", 1.0, 4)
    assert figures.values() == {"a": 3.0, "b": 0.25}


def test_a_tensor_is_summed() -> None:
    figures = Means()
    figures.add("a", torch.tensor([1.0, 2.0, 3.0]), 3)
    assert figures.values() == {"a": 2.0}


def test_what_counted_nothing_is_left_out() -> None:
    figures = Means()
    figures.add("a", 6.0, 0)
    figures.count({"b": 0.0})
    assert figures.values() == {}


def test_a_denominator_can_come_alone() -> None:
    figures = Means()
    figures.count({"a": 4.0, "b": 2.0})
    figures.add("a", 2.0, 0)
    assert figures.values() == {"a": 0.5, "b": 0.0}


parts = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 5)), min_size=1, max_size=6)


@given(parts, parts)
def test_merged_means_are_those_of_everything(first: Parts, second: Parts) -> None:
    merged = means(first)
    merged.update(means(second))
    assert merged.values() == pytest.approx(means(first + second).values())


def test_merging_keeps_names_apart_and_the_other_as_it_was() -> None:
    other = means([(4.0, 2)], "b")
    merged = means([(1.0, 1)], "a")
    merged.update(other)
    merged.add("b", 5.0, 1)
    assert merged.values() == {"a": 1.0, "b": 3.0}
    assert other.values() == {"b": 2.0}


def test_sums_are_kept_in_double_precision() -> None:
    small = means([(2.0**24, 1)] + [(1.0, 1)] * 8)  # in fp32, 2^24 + 1 is 2^24
    assert small.values()["x"] * 9 == 2**24 + 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sums_of_a_device_go_with_plain_numbers() -> None:
    figures = Means()
    figures.count({"loss": 1.0})
    figures.add("loss", torch.tensor(2.0, device="cuda"), 1)
    assert figures.values() == {"loss": 2.0}


def test_a_phase_is_timed_over_all_its_blocks() -> None:
    phases = Phases()
    for _ in range(2):
        with phases("rollout"):
            time.sleep(0.02)
    with phases("update"):
        pass
    values = phases.values(100)
    assert 0.04 <= values["time/rollout"] <= values["step_time"]
    assert values["time/update"] < values["time/rollout"]
    assert values["tokens_per_second"] == pytest.approx(100 / values["step_time"])
