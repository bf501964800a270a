"""The soft overlong punishment, the KL in the reward and the reward's place, by hand."""

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.algorithms.reward_shaping import kl_penalty, on_last_token, overlong_penalty


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


# The KL, and where a reward stands.


def test_the_kl_penalty_is_k1_on_the_tokens_that_count() -> None:
    log_probs, reference = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-1.5, -1.0, -9.0]])
    mask = torch.tensor([[True, True, False]])
    # 0.1 x (-1 + 1.5), 0.1 x (-2 + 1), and nothing where the mask is False
    assert_close(kl_penalty(log_probs, reference, mask, 0.1), torch.tensor([[0.05, -0.1, 0.0]]))


def test_a_reward_stands_on_the_last_token_that_counts() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    found = on_last_token(torch.tensor([5.0, 7.0, 9.0], dtype=torch.float64), mask)
    assert found.tolist() == [[0, 0, 5], [7, 0, 0], [0, 0, 0]]
    assert found.dtype == torch.float64  # not rounded on the way to the advantages
