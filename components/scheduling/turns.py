"""Whether a scheduled run has its turn: which slots of a schedule run, in which order, and which are skipped.

Decided by each run when it begins, from the orchestrator's list of runs and the ledger. What the orchestrator's own
limits decide cannot break it: they do not know missed slots, and are not first in, first out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ratchet.components.recipe import Schedule


class Phase(StrEnum):
    """Where a run is, to the orchestrator."""

    WAITING = "waiting"  # for its time, or for its turn
    INTERRUPTED = "interrupted"  # it worked on its slot before, and continues
    ACTIVE = "active"  # its process exists or is about to, and does not work on its slot yet
    WORKING = "working"
    LOST = "lost"  # its process should have begun long ago: it is not waited for, and has its turn whenever it begins
    ENDED = "ended"


@dataclass(frozen=True)
class SlotRun:
    """A run of a schedule, as the orchestrator lists it. Times are in UTC."""

    id: str
    slot: datetime  # its logical date
    phase: Phase
    scheduled: bool = True  # by a schedule; false if by a person or a trigger, whose runs have no logical date
    busy: Sequence[tuple[datetime, datetime | None]] = ()  # when its process ran; None: it still does
    following: datetime | None = None  # the next date of its schedule, if that was asked for; no run of it need exist yet


class Action(StrEnum):
    """What a run that begins does."""

    GO = "go"
    SKIP = "skip"
    WAIT = "wait"  # another goes first


@dataclass(frozen=True)
class Turn:
    """The decision, and why."""

    action: Action
    reason: str = ""


GO = Turn(Action.GO)
DUE = (Phase.WAITING, Phase.INTERRUPTED)


def turn_of(mine: SlotRun, others: Sequence[SlotRun], rules: Schedule, now: datetime) -> Turn:
    """The turn of a run that begins.

    Args:
        others: the other runs of the same schedule; future ones too, as far as they are known.
    """
    if (reason := skipped(mine, others, rules, now)) is not None:
        return Turn(Action.SKIP, reason)
    for other in others:
        if other.phase is Phase.WORKING or (other.phase is Phase.ACTIVE and other.slot < mine.slot):
            return Turn(Action.WAIT, f"the run of slot {named(other.slot)} is in progress")
    without = without_turn(mine, others, rules, now)
    for other in others:
        if other.phase in DUE and other.scheduled and other.slot < mine.slot and other.id not in without:
            return Turn(Action.WAIT, f"slot {named(other.slot)} goes first")
    return GO


def without_turn(mine: SlotRun, others: Sequence[SlotRun], rules: Schedule, now: datetime) -> dict[str, str]:
    """Ids of the other runs that wait and are due, and whose slot is skipped; each with the reason."""
    due = [other for other in others if other.phase in DUE and other.scheduled and other.slot <= now]
    reasons = {other.id: skipped(other, [*(one for one in others if one is not other), mine], rules, now) for other in due}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def skipped(mine: SlotRun, others: Sequence[SlotRun], rules: Schedule, now: datetime) -> str | None:
    """Why the schedule's policy skips a slot that is due; None if it runs."""
    newer = max((other.slot for other in others if other.scheduled and mine.slot < other.slot <= now), default=None)
    stale = None if newer is None else f"slot {named(mine.slot)} is not the newest one due, which is {named(newer)}"
    overlapped = overlapping(mine, others)
    if overlapped or mine.phase is Phase.INTERRUPTED:  # which began in its time, and is not a missed one
        if overlapped and rules.overlap == "skip":
            return f"the run of slot {named(overlapped.slot)} was in progress at {named(mine.slot)}; schedule.overlap is skip"
        return f"{stale}; schedule.overlap is latest" if stale and rules.overlap == "latest" else None
    if rules.missed == "all":
        return None
    if stale:
        return f"{stale}; schedule.missed is {rules.missed}"
    if rules.missed == "none" and nearer_to_next(mine, others, now):
        return f"slot {named(mine.slot)} was missed: the next one is nearer; schedule.missed is none"
    return None


def overlapping(mine: SlotRun, others: Sequence[SlotRun]) -> SlotRun | None:
    """The run that was in progress when a slot came due."""
    for other in others:
        if any(begun <= mine.slot and (ended is None or ended > mine.slot) for begun, ended in other.busy):
            return other
    return None


def nearer_to_next(mine: SlotRun, others: Sequence[SlotRun], now: datetime) -> bool:
    """Whether more than half of the time from a slot to the next one has passed."""
    known = [other.slot for other in others if other.scheduled and other.slot > mine.slot]
    following = min([*known, *([mine.following] if mine.following is not None else [])], default=None)
    return following is not None and now - mine.slot > (following - mine.slot) / 2


def named(slot: datetime) -> str:
    """A logical date as recipes with ``seed: slot`` and ``--slot`` have it: to the minute, or to the second if it has any."""
    return slot.strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00")
