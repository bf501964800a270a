"""A logical date is done once, and what was left of one can be continued."""

from pathlib import Path
from typing import NoReturn

import pytest

from ratchet.components.errors import ClaimLostError
from ratchet.components.ledger import slots
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Run
from ratchet.components.scheduling.logical_dates import once, slot_of
from tests.run.runs import FakeDisplay, claim_of, new_project, new_run

DATE = "2026-01-31T02:00"


def result(run: Run, made: RunResult | BaseException, cancelled: bool = False, flow_run: str = "f1") -> RunResult:
    def do() -> RunResult:
        if isinstance(made, BaseException):
            raise made
        return made

    return once(run, slot_of(run.recipe, DATE), flow_run, lambda: cancelled, do)


def never() -> NoReturn:
    raise AssertionError("the work was done a second time")


REFUSED = RunResult(Status.REFUSED, run_id="r1")


def test_a_second_submission_of_a_slot_does_nothing_and_names_the_run_that_did_it(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert result(run, REFUSED) is REFUSED
    run.ledger.begin_run(run.identity, run.recipe.name, "r1")
    run.ledger.finish_run(run.identity, {**REFUSED.as_json(), "version": "7", "previous": "1"})
    again = once(run, slot_of(run.recipe, DATE), "f2", lambda: False, never)
    assert (again.status, again.run_id) == (Status.UNCHANGED, "r1")
    assert (again.version, again.previous) == ("7", "1")
    assert again.reasons == [f"slot {DATE} was done before (refused); nothing was computed and no gate use was spent"]


def test_another_date_and_another_recipe_are_other_runs(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    result(run, REFUSED)
    assert once(run, slot_of(run.recipe, "2026-02-01T02:00"), None, lambda: False, lambda: REFUSED) is REFUSED
    other = new_project(tmp_path, "train.lr=1e-4").recipe
    assert once(run, slot_of(other, DATE), None, lambda: False, lambda: REFUSED) is REFUSED


@pytest.mark.parametrize(
    ("made", "cancelled", "status", "left"),
    [
        (KeyboardInterrupt(), False, slots.KILLED, True),
        (KeyboardInterrupt(), True, slots.CANCELLED, False),
        (ValueError(), False, slots.FAILED, False),
        (RunResult(Status.STOPPED, stopped="a person asked for it"), False, slots.PAUSED, False),
        (RunResult(Status.ERROR), False, "error", False),
    ],
)
def test_what_is_left_is_done_again_and_by_itself_only_after_a_kill(
    tmp_path: Path, made: RunResult | BaseException, cancelled: bool, status: str, left: bool
) -> None:
    run = new_run(tmp_path)
    if isinstance(made, RunResult):
        result(run, made)
    else:
        with pytest.raises(type(made)):
            result(run, made, cancelled)
    run.claim._release()
    assert [(taken.status, taken.attempts) for taken in slots.abandoned(run.ledger)] == ([(status, 1)] if left else [])
    run = Run(run.project, run.display, claim_of(run.project))
    assert result(run, REFUSED) is REFUSED
    assert slots.abandoned(run.ledger) == []


def test_a_slot_is_abandoned_only_once_nobody_holds_the_claim(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    slot = slot_of(run.recipe, DATE)
    assert slots.take(run.ledger, slot, run.identity, "f1").attempts == 1
    slots.set_aside(run.ledger, slot, slots.SKIPPED)  # a run is at it
    assert slots.abandoned(run.ledger) == []
    run.claim._release()
    assert [(one.slot, one.flow_run, one.attempts) for one in slots.abandoned(run.ledger, "micro")] == [(slot, "f1", 1)]
    assert slots.abandoned(run.ledger, "another") == []
    slots.set_aside(run.ledger, slot, slots.SKIPPED)
    assert slots.abandoned(run.ledger) == []


@pytest.mark.parametrize("error", [ClaimLostError("paused"), ValueError("in its own code")])
def test_a_process_that_was_taken_over_changes_nothing_of_the_slot(tmp_path: Path, error: Exception) -> None:
    paused, other = new_run(tmp_path), new_project(tmp_path)
    paused.ledger.fence = paused.claim.fence
    slot = slot_of(paused.recipe, DATE)

    def taken_over() -> RunResult:
        assert once(Run(other, FakeDisplay(), claim_of(other)), slot, None, lambda: False, lambda: REFUSED) is REFUSED
        raise error

    with pytest.raises(type(error)):
        once(paused, slot, "f1", lambda: False, taken_over)
    again = once(Run(other, FakeDisplay(), claim_of(other)), slot, None, lambda: False, never)
    assert (again.status, again.run_id) == (Status.UNCHANGED, "r1")


def test_only_processes_that_ended_without_a_word_are_counted(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    slot = slot_of(run.recipe, DATE)
    counted = []
    for status in (slots.KILLED, None, None, slots.KILLED, slots.FAILED, slots.PAUSED):
        taken = slots.take(run.ledger, slot, run.identity, None)
        counted.append(taken.attempts)
        if status is not None:
            slots.leave(run.ledger, taken, status)
    assert counted == [1, 1, 2, 3, 3, 1]


def test_a_run_that_lost_its_claim_leaves_its_slot_to_whoever_continues(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with pytest.raises(ClaimLostError):
        result(run, ClaimLostError("cut off"))
    run.claim._release()
    assert [taken.status for taken in slots.abandoned(run.ledger)] == [slots.RUNNING]


def test_what_is_done_is_not_set_aside(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    result(run, REFUSED)
    run.claim._release()
    slots.set_aside(run.ledger, slot_of(run.recipe, DATE), slots.SKIPPED)
    assert once(new_run(tmp_path), slot_of(run.recipe, DATE), None, lambda: False, never).status is Status.UNCHANGED


def test_a_slot_is_done_with_its_run_in_one_transaction(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    slot = slot_of(run.recipe, DATE)
    slots.take(run.ledger, slot, run.identity, "f1")
    run.ledger.begin_run(run.identity, "micro", "r1")
    run.ledger.finish_run(run.identity, {"status": "refused"})  # and is killed before anything else
    again = once(run, slot, "f1", lambda: False, never)
    assert (again.status, again.run_id) == (Status.UNCHANGED, "r1")


def test_a_schedule_is_in_no_identity(tmp_path: Path) -> None:
    plain, scheduled = (new_project(tmp_path, *one).recipe for one in ([], ["schedule.missed=all", "schedule.every=6h"]))
    assert plain.digest == scheduled.digest
