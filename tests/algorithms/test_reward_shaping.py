"""The soft overlong punishment by hand."""

import pytest
import torch

from ratchet.components.algorithms.reward_shaping import overlong_penalty


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0.0),
        (80, 0.0),  # the buffer starts at 100 - 20
        (81, -0.05),  # 1 / 20
        (90, -0.5),  # TRL's example
        (100, -1.0),
        (101, -1.0),  # bounded beyond the limit
        (10_000, -1.0),
    ],
)
def test_the_penalty_grows_over_the_buffer(length: int, expected: float) -> None:
    assert float(overlong_penalty(torch.tensor([length]), max_tokens=100, buffer=20)) == pytest.approx(expected)


def test_each_completion_has_its_own_penalty() -> None:
    assert overlong_penalty(torch.tensor([100, 90, 10]), 100, 20).tolist() == [-1.0, -0.5, 0.0]


def test_a_buffer_of_one_token_punishes_the_last_one_only() -> None:
    assert overlong_penalty(torch.tensor([99, 100]), 100, 1).tolist() == [0.0, -1.0]


def test_a_buffer_as_long_as_the_limit_grows_from_the_first_token() -> None:
    assert overlong_penalty(torch.tensor([0, 50, 100]), 100, 100).tolist() == [0.0, -0.5, -1.0]
