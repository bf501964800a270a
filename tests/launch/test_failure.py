"""Of several ranks that failed, the one that did so first; the others fail because of it."""

import signal
from pathlib import Path

import pytest

from ratchet.components.errors import RankError, RatchetError, RewardError
from ratchet.components.launch.failure import failure_of, is_final
from ratchet.components.launch.job import Beat, Exit, Failure, Job, Request
from ratchet.components.launch.processes import Process
from ratchet.components.recipe import Launch

KILL, TERM = -signal.SIGKILL, -signal.SIGTERM


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path / "job")
    job.begin(Request("entry", "key", Launch(kind="torchrun", workers=2), "/", "cpu", 1, None, {}))
    for rank, phase in enumerate(("exchange", "update")):
        job.beat(Beat(rank, Process("here", 100 + rank, 0.0), phase, 1))
    return job


def lost_peer(rank: int, at: float) -> Failure:
    return Failure(rank, "exchange", at, "DistBackendError", "connection closed by peer", "")


def test_the_first_error_is_the_cause(job: Job) -> None:
    job.fail(lost_peer(0, at=10.3))
    job.fail(Failure(1, "reward", 10.2, "RewardError", "the judge is down", ""))
    with pytest.raises(RewardError, match=r"^the judge is down$"):
        raise failure_of(job, 1)


def test_a_rank_that_was_killed_is_the_cause_of_its_peers_error(job: Job) -> None:
    job.note_exit(Exit(0, 100, 1, 11))
    job.note_exit(Exit(1, 101, KILL, 10))
    job.fail(lost_peer(0, at=10.4))
    assert "rank 1 (process 101) was killed by SIGKILL in the phase update" in str(failure_of(job, 1))


def test_a_rank_may_be_killed_by_a_signal_without_a_name(job: Job) -> None:
    job.note_exit(Exit(1, 101, -40, 10))
    assert "rank 1 (process 101) was killed by signal 40 in the phase update" in str(failure_of(job, 1))


def test_a_rank_that_the_launcher_ended_later_is_not_the_cause(job: Job) -> None:
    job.fail(Failure(0, "update", 10.0, "KeyError", "'x'", "Traceback ..."))
    job.note_exit(Exit(0, 100, 1, 10))
    job.note_exit(Exit(1, 101, KILL, 40))  # it did not end on SIGTERM
    assert "rank 0 failed in the phase update: KeyError: 'x'" in str(failure_of(job, 1))


def test_a_rank_that_was_terminated_is_not_the_cause(job: Job) -> None:
    job.note_exit(Exit(1, 101, TERM, 10))
    job.fail(lost_peer(0, at=10.4))
    assert "rank 0 failed in the phase exchange" in str(failure_of(job, 1))


def test_without_any_word_of_a_rank_the_launchers_is_passed_on(job: Job) -> None:
    job.launcher_log.write_text("no route\nto host")
    found = failure_of(job, 1)
    assert isinstance(found, RankError)
    assert "without a result: no route to host" in str(found)


def test_a_killed_launcher_is_the_cause_of_its_ranks_errors(job: Job) -> None:
    job.launched_by(Process("here", 99, 0.0))
    job.launcher_log.write_text("a warning")
    job.fail(lost_peer(0, at=10.4))
    found = str(failure_of(job, KILL))
    assert "the ranks' launcher (process 99) was killed by SIGKILL; the machine may be out of memory. Its log is" in found
    assert "was killed by signal 40. Its log is" in str(failure_of(job, -40))
    job.fail(Failure(1, "reward", 10.2, "RewardError", "the judge is down", ""))
    assert isinstance(failure_of(job, KILL), RewardError)


def test_a_launcher_of_another_process_that_said_nothing_was_killed(job: Job) -> None:
    job.launcher_log.write_text("")
    assert "is gone without a word: it was killed, or the machine was out of memory" in str(failure_of(job, None))
    assert "ended without a result: it printed nothing" in str(failure_of(job, 0))


@pytest.mark.parametrize(
    ("kind", "final"), [("RewardError", True), ("StalledError", False), ("KeyError", False), ("annotations", False)]
)
def test_a_restart_may_mend_what_is_not_an_error_of_ours(job: Job, kind: str, final: bool) -> None:
    assert not is_final(job)
    job.fail(Failure(0, "update", 1.0, kind, "", ""))
    assert is_final(job) == final
    assert isinstance(failure_of(job, 1), RatchetError)
