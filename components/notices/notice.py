"""What is told about a run or a decision: the same to Prefect's automations, to webhooks and to people."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratchet.components.ledger.database import now
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.recipe.notify import Occasion
from ratchet.components.records import Verdict
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.told import Told
from ratchet.components.text import redacted, redacted_values

OCCASION_OF: Mapping[Status, Occasion | None] = {
    Status.PROMOTED: "promoted",
    Status.REFUSED: "refused",
    Status.REWARD_REFUSED: "reward_refused",
    Status.INVALID: "invalid",
    Status.STOPPED: "stopped",
    Status.ERROR: "failed",
    Status.UNCHANGED: "unchanged",
    Status.FINISHED: None,  # a person asked for a part of a run
}


@dataclass(frozen=True)
class Notice:
    """One thing that happened. ``id`` stays the same when it is sent again, so that a receiver can ignore a repetition."""

    occasion: Occasion
    model: str
    told: Told
    run_id: str | None = None  # in MLflow
    verdict: str | None = None
    version: str | None = None
    previous: str | None = None  # the champion before
    link: str | None = None  # to the run in MLflow, or the path of the report
    by: str | None = None  # the person who decided
    reason: str | None = None  # that person's
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: str = field(default_factory=now)

    @property
    def event(self) -> str:
        """The name of the event."""
        return f"ratchet.{self.occasion}"

    @property
    def title(self) -> str:
        """One line."""
        version = f" version {self.version}" if self.version else ""
        return f"{self.model}: {self.occasion.replace('_', ' ')}{version}"

    @property
    def text(self) -> str:
        """What happened, by how much, what was decided, what to do next, and where to look."""
        more = {"By": self.by, "Reason": self.reason, "Report": self.link}
        return redacted("\n".join([self.told.text, *(f"{name}: {value}" for name, value in more.items() if value)]))

    def as_json(self) -> dict[str, Any]:
        """The shape of docs/events.md. ``text`` is what Slack's and Mattermost's incoming webhooks show."""
        found: dict[str, Any] = redacted_values(
            {
                "id": self.id,
                "type": self.event,
                "time": self.at,
                "model": self.model,
                "run_id": self.run_id,
                "verdict": self.verdict,
                "version": self.version,
                "previous": self.previous,
                "message": self.told._asdict(),
                "link": self.link,
                "by": self.by,
                "reason": self.reason,
                "text": f"{self.title}\n{self.text}",
            }
        )
        return found


def notice_of(model: str, result: RunResult, told: Told, link: str | None) -> Notice | None:
    """The end of a run; None of a run that ended where it was asked to."""
    occasion = OCCASION_OF[result.status]
    if occasion is None:
        return None
    verdict = result.verdict and result.verdict.value
    return Notice(occasion, model, told, result.run_id, verdict, result.version, result.previous, link)


def failure(model: str, error: Exception) -> Notice:
    """A run that an error ended."""
    remedy = "Correct the cause, and run the same command again: it resumes where the run stopped."
    return Notice("failed", model, Told("The run failed.", f"{type(error).__name__}: {error}", "", remedy))


def decision(occasion: Occasion, model: str, promotion: Promotion) -> Notice:
    """A person's promotion: a rollback or an override."""
    before = f" in place of version {promotion.previous}" if promotion.previous else ""
    said = f"Version {promotion.version} is champion{before}, without the gate."
    undo = "`ratchet rollback` undoes it. Servers that follow the champion load this version (docs/serving.md)."
    told = Told(said, "", f"{promotion.person or 'A person'} decided: {occasion.replace('_', ' ')}.", undo)
    return Notice(
        occasion,
        model,
        told,
        promotion.run_id,
        version=promotion.version,
        previous=promotion.previous,
        by=promotion.person,
        reason=promotion.reason,
    )


def approval(model: str, run_id: str, verdict: Verdict, by: str) -> Notice:
    """A person's approval of a verdict."""
    told = Told(f"The verdict of run {run_id} is approved.", "", "", "The run that waits promotes it; if it ended, run again.")
    return Notice("approved", model, told, run_id, verdict.outcome.value, by=by)
