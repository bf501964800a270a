"""One pipeline run as MLflow and the ledger see it: a parent run, a child a stage, an identity that survives a crash."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ratchet.components.digests import digest_of
from ratchet.components.errors import RegistryError
from ratchet.components.interruption import Interruption
from ratchet.components.ledger.claims import Claim, claimed
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.provenance.lineage import commit_tags
from ratchet.components.run.project import Project
from ratchet.components.source_code import sources_digest
from ratchet.components.stages.stage import Context, StageResult
from ratchet.components.store import check_writable
from ratchet.components.user_code import function_digests
from ratchet.flows.cli.views.console import Display, say

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


@dataclass
class Recording:
    """The run being made. MLflow is opened when the first stage has something to say."""

    context: Context
    project: Project
    display: Display
    claim: Claim
    stages: list[StageResult] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)  # what the summary shows beside the result
    run_id: str | None = None

    @property
    def identity(self) -> str:
        """Of the run, as :func:`identity_of` has it."""
        return self.claim.run

    @property
    def ledger(self) -> Ledger:
        return self.project.ledger

    @property
    def tracker(self) -> "Tracker":
        return self.project.tracker

    @property
    def begun(self) -> str | None:
        """The MLflow run of this identity, if it was begun, by this process or by one that was killed."""
        return self.run_id or self.ledger.open_run(self.identity)

    def open(self) -> str:
        """Open the parent run: a new one, or the one that a killed process left."""
        if self.run_id is not None:
            return self.run_id
        recipe = self.context.recipe
        known = self.ledger.open_run(self.identity)
        tags = {"ratchet.identity": self.identity, "recipe_digest": recipe.digest, **commit_tags(self.context.home.project)}
        self.run_id = self.tracker.open_run(recipe.name, tags, known)
        self.ledger.begin_run(self.identity, recipe.name, self.run_id)
        self.tracker.params(self.run_id, flatten(recipe.model_dump(mode="json")))
        return self.run_id

    @contextmanager
    def stage(self, name: str) -> Iterator[str]:
        """The child run of a stage that is being made, with system metrics; failed if the block raises."""
        child = self.tracker.child(self.open(), name)
        try:
            with self.tracker.system_metrics(child):
                yield child
        except BaseException:
            self.tracker.close_run(child, "FAILED")
            raise
        self.tracker.close_run(child)

    def add(self, result: StageResult) -> None:
        """A stage is finished."""
        self.stages.append(result)
        self.display.finished(result.name, result.cached, result.seconds)

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """Observer protocol; a run that lost its claim ends here, between two steps."""
        self.claim.check()
        self.display.progress(stage, done, total, note)

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Observer protocol: figures that are durable go to the stage's child run."""
        if self.run_id is not None:
            self.tracker.metrics(self.tracker.child(self.run_id, stage), points)

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Observer protocol: a table of samples goes to the stage's child run."""
        from ratchet.components.text import visible

        if self.run_id is not None:
            shown = [{k: visible(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows]
            self.tracker.table(self.tracker.child(self.run_id, stage), shown, f"samples/step_{step:06d}.json")

    def close(self, result: Mapping[str, Any], status: str = "FINISHED") -> None:
        """End the run in MLflow and in the ledger."""
        if self.run_id is None:
            return
        self.tracker.tags(self.run_id, {"status": result["status"], "verdict": str(result["verdict"])})
        self.tracker.close_children(self.run_id)
        self.tracker.close_run(self.run_id, status)
        self.ledger.finish_run(self.identity, result)

    def fail(self, status: str) -> None:
        """Note that the process ends before the run does; the ledger keeps the run open, to be continued.

        Nothing is noted of a run that another process has taken over, nor in a ledger that is out of reach.
        """
        with suppress(RegistryError):  # what ends the process matters more
            if self.run_id is not None and self.claim.ours():
                self.ledger.break_run(self.identity, status.lower())
                self.tracker.close_run(self.run_id, status)

    def result(self, status: str, **values: Any) -> dict[str, Any]:
        """The shape of ``run --json``."""
        empty: dict[str, Any] = {"verdict": None, "version": None, "previous": None, "dataset": None, "report": None}
        return {
            "status": status,
            **empty,
            "run_id": self.run_id,
            **values,
            "stages": [stage.as_json() for stage in self.stages],
        }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested sections as dotted keys."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def identity_of(context: Context) -> str:
    """hash(recipe, code): with equal identity, a killed run is continued instead of begun again."""
    return digest_of([context.recipe.digest, sources_digest(), function_digests(context.recipe.reward.functions)])


@contextmanager
def recording_of(project: Project) -> Iterator[Recording]:
    """A recording whose MLflow run is closed whatever happens. A second run of the same identity waits for the first."""
    check_writable(project.home.state)
    context, display = Context(project.recipe, project.home), Display()
    identity = identity_of(context)
    name = identity[:16]
    with (
        display.live(),
        project.locks.working(name, "this very run is under way already; waiting for it"),
        claimed(project.ledger, identity, project.locks.place(name), _tell_claimed) as claim,
    ):
        recording = Recording(context, project, display, claim)
        recording.context = Context(project.recipe, project.home, observer=recording)
        try:
            yield recording
        except Exception:
            recording.fail("FAILED")
            raise
        except BaseException:  # Ctrl-C, or Prefect's own signal on SIGTERM
            with Interruption():  # a second signal is not to undo this
                recording.fail("KILLED")
            raise


def _tell_claimed(holder: str, seconds: float) -> None:
    waiting = f"this very run is under way as {holder}; waiting until it ends, or is silent for {seconds:g} s"
    say(waiting)
