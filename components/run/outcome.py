"""How a run ends: its status, with everything that depends on the status, and the shape of ``run --json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from ratchet.components.records import Outcome

Tone = Literal["good", "neutral", "bad"]


class Status(StrEnum):
    """How a run ended."""

    PROMOTED = "promoted"
    UNCHANGED = "unchanged"
    FINISHED = "finished"
    REFUSED = "refused"
    REWARD_REFUSED = "reward_refused"
    INVALID = "invalid"
    STOPPED = "stopped"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        return PRESENTATION[self].exit_code

    @property
    def tone(self) -> Tone:
        return PRESENTATION[self].tone


class Presentation(NamedTuple):
    """How the command line, the reports and Prefect present a status."""

    exit_code: int
    tone: Tone


PRESENTATION = {
    Status.PROMOTED: Presentation(0, "good"),
    Status.UNCHANGED: Presentation(0, "neutral"),
    Status.FINISHED: Presentation(0, "neutral"),
    Status.REFUSED: Presentation(3, "bad"),
    Status.REWARD_REFUSED: Presentation(4, "bad"),
    Status.INVALID: Presentation(5, "bad"),
    Status.STOPPED: Presentation(6, "bad"),
    Status.ERROR: Presentation(1, "bad"),
}
STATUS_OF_VERDICT = {
    Outcome.PROMOTE: Status.PROMOTED,
    Outcome.REJECT: Status.REFUSED,
    Outcome.UNDERPOWERED: Status.REFUSED,
    Outcome.INVALID: Status.INVALID,
    Outcome.ERROR: Status.ERROR,
}


@dataclass(frozen=True)
class RunResult:
    """What a run returns to its caller. ``reasons``, which is shown to people, and ``gold`` are not part of the JSON."""

    status: Status
    verdict: Outcome | None = None
    version: str | None = None
    previous: str | None = None
    dataset: str | None = None
    run_id: str | None = None
    report: str | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    failed_checks: Sequence[str] | None = None  # of a refused reward
    gate: Mapping[str, Any] | None = None  # what the gate would do, of a dry run
    error: str | None = None
    stopped: str | None = None  # by whom or what, of a run that the same command resumes
    gold: Mapping[str, float] | None = None  # what it measured on dev, and its mutation score: for `ratchet status`
    reasons: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The shape of ``run --json``; the last four keys are present only if they have a value."""
        said = {"failed_checks": self.failed_checks, "gate": self.gate, "error": self.error, "stopped": self.stopped}
        return {
            "status": self.status.value,
            "verdict": self.verdict and self.verdict.value,
            "version": self.version,
            "previous": self.previous,
            "dataset": self.dataset,
            "run_id": self.run_id,
            "report": self.report,
            "stages": [dict(stage) for stage in self.stages],
            **{name: value for name, value in said.items() if value is not None},
        }
