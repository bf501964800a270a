"""A draw depends on what it is for, and on nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.randomness import batch_indices, stream, torch_seed, uniforms

counters = st.lists(st.integers(0, 10**6), max_size=3)
places = st.tuples(st.integers(0, 2**63 - 1), st.sampled_from(["rollout", "pairs", "warmup"]), counters)


@given(places)
def test_the_same_place_always_draws_the_same(place: tuple[int, str, list[int]]) -> None:
    seed, purpose, numbers = place
    assert np.array_equal(stream(seed, purpose, *numbers).random(4), stream(seed, purpose, *numbers).random(4))


@given(places, places)
def test_two_places_never_share_their_draws(one: tuple[int, str, list[int]], other: tuple[int, str, list[int]]) -> None:
    draws = [stream(seed, purpose, *numbers).integers(2**63) for seed, purpose, numbers in (one, other)]
    assert (draws[0] == draws[1]) == (one == other)


def test_draws_are_those_of_earlier_releases() -> None:
    # Recorded once. Another value here means that no earlier run can be reproduced.
    assert stream(7, "rollout", 3, 1).integers(10**6, size=3).tolist() == [181197, 295915, 763556]


def test_a_torch_seed_is_one_that_torch_accepts() -> None:
    seeds = {torch_seed(7, "model", step) for step in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_uniforms_do_not_depend_on_the_batch_they_are_drawn_in() -> None:
    together = uniforms(7, "rollout", 2, [5, 5, 9], [0, 1, 0], 6)
    alone = uniforms(7, "rollout", 2, [9], [0], 6)
    assert together.shape == (3, 6)
    assert np.array_equal(together[2], alone[0])


def test_a_longer_row_of_uniforms_begins_with_the_shorter() -> None:
    short, long = uniforms(7, "rollout", 0, [1], [0], 4), uniforms(7, "rollout", 0, [1], [0], 9)
    assert np.array_equal(long[:, :4], short)


def test_samples_of_one_prompt_differ() -> None:
    first, second = uniforms(7, "rollout", 0, [1, 1], [0, 1], 8)
    assert not np.any(first == second)


def test_uniforms_lie_in_the_unit_interval_and_fill_it() -> None:
    values = uniforms(7, "rollout", 0, range(100), [0] * 100, 100)
    assert values.min() >= 0
    assert values.max() < 1
    # The mean of 10,000 uniforms has standard deviation sqrt(1/12/10000) = 0.0029; 0.015 is five of them.
    assert abs(values.mean() - 0.5) < 0.015


def test_no_rows_give_no_uniforms() -> None:
    assert uniforms(7, "rollout", 0, [], [], 5).shape == (0, 5)


def test_items_and_samples_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        uniforms(7, "rollout", 0, [1, 2], [0], 5)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 3))
def test_every_epoch_holds_every_row_once(size: int, batch: int, epoch: int) -> None:
    steps = range((epoch + 1) * size // batch + 1)
    order = np.concatenate([batch_indices(3, "train", step, batch, size) for step in steps])
    assert sorted(order[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_have_orders_of_their_own() -> None:
    first, second = batch_indices(3, "train", 0, 50, 50), batch_indices(3, "train", 1, 50, 50)
    assert not np.array_equal(first, second)


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    halves = [batch_indices(3, "train", step, 4, 10) for step in (0, 1)]
    assert np.array_equal(np.concatenate(halves), batch_indices(3, "train", 0, 8, 10))


def test_a_batch_from_zero_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="zero rows"):
        batch_indices(3, "train", 0, 4, 0)
