"""Which slots of a schedule run, in which order, and which are skipped; times are hours of one day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from ratchet.components.recipe import Schedule
from ratchet.components.scheduling.turns import GO, Action, Phase, SlotRun, Turn, named, turn_of, without_turn

DAY = datetime(2026, 1, 31, tzinfo=UTC)


def at(hour: float) -> datetime:
    return DAY + timedelta(hours=hour)


def one(hour: float, phase: Phase = Phase.WAITING, started: float | None = None, ended: float | None = None) -> SlotRun:
    busy = [] if started is None else [(at(started), None if ended is None else at(ended))]
    return SlotRun(f"run {hour}", at(hour), phase, True, busy)


def turn(hour: float, *others: SlotRun, now: float, phase: Phase = Phase.WAITING, **rules: Any) -> Turn:
    return turn_of(one(hour, phase), others, Schedule(**rules), at(now))


def actions(hours: list[float], now: float, *others: SlotRun, **rules: Any) -> list[Action]:
    """What each of several late slots would do if it began now."""
    late = {hour: one(hour) for hour in hours}
    return [
        turn(hour, *(run for other, run in late.items() if other != hour), *others, now=now, **rules).action for hour in hours
    ]


def test_a_slot_in_its_time_runs() -> None:
    assert turn(2, one(3), now=2.01) == GO


def test_of_missed_slots_the_newest_due_runs_and_each_other_names_it() -> None:
    assert actions([1, 2, 3, 4], 3.5) == [Action.SKIP, Action.SKIP, Action.GO, Action.WAIT]
    assert turn(1, one(3), now=3.5).reason == (
        "slot 2026-01-31T01:00 is not the newest one due, which is 2026-01-31T03:00; schedule.missed is latest"
    )


def test_all_missed_slots_run_one_after_the_other_oldest_first() -> None:
    assert actions([1, 2, 3], 3.5, missed="all") == [Action.GO, Action.WAIT, Action.WAIT]
    assert turn(2, one(1, Phase.ACTIVE, 3.4), now=3.5, missed="all") == Turn(
        Action.WAIT, "the run of slot 2026-01-31T01:00 is in progress"
    )


def test_whoever_begins_first_ends_the_others_that_have_no_turn() -> None:
    others = [one(1), one(3), one(4), one(2.5, Phase.ACTIVE), SlotRun("hand", at(0), Phase.WAITING, False)]
    assert list(without_turn(one(2), others, Schedule(), at(3.5))) == ["run 1"]
    assert list(without_turn(one(2), others, Schedule(missed="all"), at(3.5))) == []


def test_no_missed_slot_runs_once_the_next_is_nearer() -> None:
    assert actions([1, 2], 2.1, one(3), missed="none") == [Action.SKIP, Action.GO]
    assert actions([2], 2.6, one(3), missed="none") == [Action.SKIP]
    assert actions([2], 2.6, one(3)) == [Action.GO]
    unmade = replace(one(2), following=at(3))  # by Prefect, which makes a few runs ahead
    assert turn_of(unmade, [], Schedule(missed="none"), at(2.4)).action is Action.GO
    assert turn_of(unmade, [], Schedule(missed="none"), at(26)).action is Action.SKIP


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [("queue", [Action.GO, Action.WAIT]), ("skip", [Action.SKIP, Action.SKIP]), ("latest", [Action.SKIP, Action.GO])],
)
def test_slots_that_came_due_during_a_run_are_not_missed(overlap: str, expected: list[Action]) -> None:
    long = one(1, Phase.ENDED, 1.0, 3.4)
    assert actions([2, 3], 3.5, long, overlap=overlap) == expected


def test_an_interrupted_run_is_no_missed_one_and_continues_before_newer_ones() -> None:
    interrupted = one(1, Phase.INTERRUPTED, 1.0, 1.2)
    assert turn(1, one(2), one(3), now=3.5, phase=Phase.INTERRUPTED) == GO
    assert turn(3, one(2), interrupted, now=3.5) == Turn(Action.WAIT, "slot 2026-01-31T01:00 goes first")
    assert turn(2, one(3), interrupted, now=3.5).action is Action.SKIP
    assert turn(1, one(2), now=2.5, phase=Phase.INTERRUPTED, overlap="latest").action is Action.SKIP


def test_a_run_in_progress_is_waited_for() -> None:
    assert turn(2, one(1, Phase.ACTIVE, 1.0), now=2.0).action is Action.WAIT
    assert turn(2, one(1, Phase.ACTIVE, 1.0), now=2.0, overlap="skip").action is Action.SKIP


def test_of_two_that_begin_at_once_only_the_newer_waits_and_a_newer_one_at_work_is_waited_for() -> None:
    assert turn(1, one(2, Phase.ACTIVE, 2.0), now=2.0, missed="all") == GO
    assert turn(1, one(2, Phase.WORKING, 2.0), now=2.0, missed="all").action is Action.WAIT


def test_runs_by_hand_have_no_date_but_are_waited_for() -> None:
    by_hand = SlotRun("hand", at(2.5), Phase.ACTIVE, False, [(at(2.5), None)])
    assert turn(2, by_hand, now=2.6) == GO
    assert turn(2, replace(by_hand, phase=Phase.WORKING), now=2.6).action is Action.WAIT


@pytest.mark.parametrize("overlap", ["queue", "skip", "latest"])
@pytest.mark.parametrize("missed", ["latest", "all", "none"])
@pytest.mark.parametrize("busy", [[], [one(0, Phase.ENDED, 0.0, 2.5)]])
def test_whatever_the_rules_exactly_one_waiting_slot_goes_or_none_is_left(
    overlap: str, missed: str, busy: list[SlotRun]
) -> None:
    left = [1.0, 2.0, 3.0, 4.0]
    ran: list[float] = []
    for _ in range(20):
        found = actions(left, 4.1, *busy, one(5), overlap=overlap, missed=missed)
        assert found.count(Action.GO) <= 1
        gone = next((hour for hour, action in zip(left, found, strict=True) if action is not Action.WAIT), None)
        if gone is None:
            break
        if found[left.index(gone)] is Action.GO:
            ran.append(gone)
            busy = [*busy, one(gone, Phase.ENDED, 4.1, 4.1)]
        left.remove(gone)
    assert left == []
    assert ran
    assert all(first < second for first, second in pairwise(ran))


def test_a_slot_has_seconds_only_if_it_has_any() -> None:
    assert named(at(2)) == "2026-01-31T02:00"
    assert named(at(2) + timedelta(seconds=20)) == "2026-01-31T02:00:20"
