"""The learning rate of a step, by hand."""

import pytest

from ratchet.components.algorithms.learning_rate import learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1 / 50),
        (24, 25 / 50 * (1 - 24 / 1000)),
        (49, 1 - 49 / 1000),
        (500, 0.5),
        (999, 0.05),  # never below a twentieth
    ],
)
def test_it_rises_and_decays(step: int, expected: float) -> None:
    assert learning_rate(step, 1000, 50, 0.05) == pytest.approx(expected)
    assert learning_rate(step, 1000, 50, 0.05, peak=3e-4) == pytest.approx(3e-4 * expected)


@pytest.mark.parametrize("warmup", [0, 1])
def test_without_a_rise_it_decays_from_its_peak(warmup: int) -> None:
    assert [learning_rate(step, 4, warmup, 0.3, peak=2.0) for step in range(4)] == [2.0, 1.5, 1.0, 0.6]
