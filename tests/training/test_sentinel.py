"""When training must end."""

from dataclasses import asdict

from components.training.sentinel import Sentinel


def test_three_skipped_steps_in_a_row_end_training() -> None:
    sentinel = Sentinel()
    assert [sentinel.observe(0, 1) for _ in range(3)] == [None, None, "nonfinite"]


def test_a_finite_step_starts_the_count_anew() -> None:
    sentinel = Sentinel()
    assert [sentinel.observe(*step) for step in [(0, 1), (0, 1), (1, 0), (0, 1), (0, 1)]] == [None] * 5


def test_a_step_without_any_update_neither_counts_nor_clears() -> None:
    sentinel = Sentinel()
    assert [sentinel.observe(*step) for step in [(0, 1), (0, 1), (0, 0), (0, 1)]] == [None, None, None, "nonfinite"]


def test_a_step_that_was_skipped_in_part_counts() -> None:
    sentinel = Sentinel()
    assert [sentinel.observe(3, 1) for _ in range(3)][-1] == "nonfinite"


def test_healthy_training_is_left_alone() -> None:
    sentinel = Sentinel()
    assert all(sentinel.observe(1, 0) is None for _ in range(100))


def test_the_count_survives_a_checkpoint() -> None:
    sentinel = Sentinel()
    sentinel.observe(0, 1)
    sentinel.observe(0, 1)
    assert Sentinel(**asdict(sentinel)).observe(0, 1) == "nonfinite"
