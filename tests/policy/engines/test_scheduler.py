"""Prompts and slots on the host: who enters, who leaves, who moves."""

from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.policy.engines.scheduler import Admission, Scheduler, buckets


def no_limit(_: int) -> int:
    return 1000


def test_prompts_enter_with_all_their_samples_in_order_of_width() -> None:
    scheduler = Scheduler([8, 4, 8, 4], samples=2, slots=6, mixed=False)
    assert scheduler.admit(no_limit) == Admission([1, 3], [0, 1, 2, 3], [2, 3, 6, 7], 4)
    assert scheduler.admit(no_limit) == Admission([0], [4, 5], [0, 1], 8)  # of a width of its own, as many as fit
    assert (scheduler.live, scheduler.waiting, scheduler.wants_prompts) == (6, True, False)


def test_a_pass_takes_no_more_prompts_than_it_has_room_for() -> None:
    scheduler = Scheduler([4] * 5, samples=1, slots=8, mixed=False)
    assert scheduler.admit(lambda width: 12 // width).prompts == [0, 1, 2]


def test_where_widths_may_be_mixed_the_widest_sets_the_width() -> None:
    assert Scheduler([3, 9, 5], samples=1, slots=4, mixed=True).admit(no_limit) == Admission([0, 2, 1], [0, 1, 2], [0, 2, 1], 9)


def test_slots_that_ended_are_noted_and_filled_again() -> None:
    scheduler = Scheduler([4, 4, 4], samples=1, slots=2, mixed=False)
    scheduler.admit(no_limit)
    scheduler.end([False, True])
    assert (scheduler.ended, scheduler.live) == ([(1, 1)], 1)
    assert scheduler.admit(no_limit).slots == [1]


def test_a_slot_that_is_free_does_not_end_again() -> None:
    scheduler = Scheduler([4], samples=1, slots=2, mixed=False)
    scheduler.admit(no_limit)
    scheduler.end([True, True])
    scheduler.end([True, True])
    assert scheduler.ended == [(0, 0)]


def test_prompts_wait_until_an_eighth_of_the_slots_is_free() -> None:
    scheduler = Scheduler([4] * 40, samples=1, slots=32, mixed=False)
    scheduler.admit(no_limit)
    scheduler.end([slot < 3 for slot in range(32)])
    assert not scheduler.wants_prompts
    scheduler.end([slot < 4 for slot in range(32)])
    assert scheduler.wants_prompts


def test_the_last_prompts_do_not_wait_for_an_eighth() -> None:
    scheduler = Scheduler([4] * 33, samples=1, slots=32, mixed=False)
    scheduler.admit(no_limit)
    scheduler.end([slot < 1 for slot in range(32)])
    assert scheduler.wants_prompts


def test_shrinking_moves_what_is_live_beyond_the_smaller_bucket() -> None:
    scheduler = Scheduler([4] * 8, samples=1, slots=8, mixed=False)
    scheduler.admit(no_limit)
    scheduler.end([slot not in (1, 5, 7) for slot in range(8)])
    assert scheduler.shrink(4) == [(5, 0), (7, 2)]
    assert scheduler.slots == [5, 1, 7, None]


def test_buckets_go_down_by_the_ratio_to_the_least() -> None:
    assert buckets(512, 4, 8) == [512, 128, 32, 8]
    assert buckets(100, 4 / 3, 8) == [100, 75, 56, 42, 31, 23, 17, 12, 9]
    assert buckets(5, 4, 8) == [5]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.integers(1, 5), st.integers(5, 40), st.randoms())
def test_every_row_is_drawn_once_and_no_slot_is_held_twice(widths: list[int], samples: int, slots: int, random: object) -> None:
    scheduler, seen = Scheduler(widths, samples, slots, mixed=False), []
    while scheduler.live or scheduler.waiting:
        while scheduler.wants_prompts:
            scheduler.ended.clear()
            admission = scheduler.admit(no_limit)
            assert {widths[prompt] for prompt in admission.prompts} == {admission.width}
            seen += admission.rows
        held = [row for row in scheduler.slots if row is not None]
        assert len(set(held)) == len(held) == scheduler.live
        scheduler.end([random.random() < 0.3 for _ in scheduler.slots])  # type: ignore[attr-defined]
        if not scheduler.waiting and scheduler.live <= len(scheduler.slots) // 2:
            live = {row for row in scheduler.slots if row is not None}
            scheduler.shrink(max(1, len(scheduler.slots) // 2))
            assert {row for row in scheduler.slots if row is not None} == live
    assert sorted(seen) == list(range(len(widths) * samples))
