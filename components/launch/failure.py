"""Why a job failed: the error of the rank that failed first, as one process would have raised it."""

import signal
from pathlib import Path

from ratchet.components import errors
from ratchet.components.errors import RankError, RatchetError
from ratchet.components.interruption import signal_name
from ratchet.components.launch.job import Beat, Exit, Failure, Job

RESUME = "Run the same command to resume from the last checkpoint"
TAIL = 2000  # characters of a launcher's log
UNSAID = "is gone without a word: it was killed, or the machine was out of memory"


def failure_of(job: Job, code: int | None) -> RatchetError:
    """The error with which a job's follower ends.

    Args:
        code: the launcher's exit code, negative for a signal; None if another process started it.
    """
    failures, exits = job.failures(), job.exits()
    killed = _killed_first(failures, exits)
    if killed is not None:
        return _killed(job, killed)
    if code is not None and code < 0 and not is_final(job):
        return _of_launcher(job, f"was killed by {signal_name(-code)}{_memory(-code)}")
    if failures:
        return _raised(job, failures[0])
    said = _tail(job.launcher_log)
    if not said and code is None:
        return _of_launcher(job, UNSAID)
    return _of_launcher(job, f"ended without a result: {said or 'it printed nothing'}")


def is_final(job: Job) -> bool:
    """Whether a rank has failed by an error that would come again: one of ours, but for a phase that took too long."""
    kinds = {_kind(failure.kind) for failure in job.failures()} - {None, errors.StalledError}
    return bool(kinds)


def silent_rank(job: Job, beat: Beat, seconds: float) -> RankError:
    """The error for a rank whose heartbeat has not changed for so long."""
    return RankError(
        f"rank {beat.rank} (process {beat.process.pid} on {beat.process.host}) was silent for {seconds:.0f} s in the phase "
        f"{beat.phase}: its process is stopped or hangs, its machine is gone, or busy for longer than limits.silence_seconds. "
        f"Its log is {job.log(beat.rank)}. {RESUME}."
    )


def _killed_first(failures: list[Failure], exits: list[Exit]) -> Exit | None:
    """The rank that a signal ended before any other failed. SIGTERM is how the launcher ends the others."""
    with_error = {failure.rank for failure in failures}
    killed = (one for one in exits if one.code < 0 and -one.code != signal.SIGTERM and one.rank not in with_error)
    first = next(killed, None)
    # A rank that lost its peer may have recorded an error, a moment after the peer's end; exits are known to the second.
    return first if first is not None and all(one.at >= first.at for one in exits) else None


def _killed(job: Job, end: Exit) -> RankError:
    phase = next((beat.phase for beat in job.beats() if beat.rank == end.rank), "start")
    name = signal_name(-end.code)
    return RankError(
        f"rank {end.rank} (process {end.pid}) was killed by {name} in the phase {phase}{_memory(-end.code)}. "
        f"Its log is {job.log(end.rank)}. {RESUME}."
    )


def _of_launcher(job: Job, what: str) -> RankError:
    who = f" (process {job.launcher.pid})" if job.launcher else ""
    return RankError(f"the ranks' launcher{who} {what}. Its log is {job.launcher_log}. {RESUME}.")


def _memory(number: int) -> str:
    """What a signal may mean besides a person's will."""
    return "; the machine may be out of memory" if number == signal.SIGKILL else ""


def _kind(name: str) -> type[RatchetError] | None:
    """An error of ours by the name of its class."""
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, RatchetError) else None


def _raised(job: Job, failure: Failure) -> RatchetError:
    kind = _kind(failure.kind)
    if kind is not None:
        return kind(failure.message)
    return RankError(
        f"rank {failure.rank} failed in the phase {failure.phase}: {failure.kind}: {failure.message:.500}. "
        f"Its traceback and all that it printed are in {job.log(failure.rank)}. Correct the cause. {RESUME}."
    )


def _tail(log: Path) -> str:
    """The end of a log, in one line; empty if nothing was printed."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    except OSError as error:
        return str(error)
    return " ".join(text.split())[-TAIL:]
