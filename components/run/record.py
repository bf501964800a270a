"""A run as MLflow and the ledger see it: a parent run, a child per stage, an identity that survives a crash."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from ratchet.components.code.source_code import sources_digest
from ratchet.components.errors import PausedError
from ratchet.components.graders.judging import judging_digests
from ratchet.components.interruption import Interruption
from ratchet.components.launch.watchdog import Watchdog
from ratchet.components.ledger.claims import Claim, claimed
from ratchet.components.ledger.clock import uptime
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import lock_name
from ratchet.components.project.project import Project
from ratchet.components.project.trained import TrainedOn
from ratchet.components.provenance.lineage import commit_tags
from ratchet.components.recipe import Recipe, headline
from ratchet.components.records import Arm, Decoding, Outcome, Verdict, rows_name
from ratchet.components.registry.system_metrics import system_metrics
from ratchet.components.run.all_runs import show_all_runs
from ratchet.components.run.columns import run_name, run_parameters, stage_parameters
from ratchet.components.run.figures import Figures
from ratchet.components.run.observer import RunObserver
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.progress import Display, ProgressFile, path_of
from ratchet.components.run.told import brief, told_of
from ratchet.components.stages.data import made_from
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, GoldStage, RewardStage
from ratchet.components.stages.stage import Context, Seen, Stage, StageResult
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.digests import digest_of, kept_digest
from ratchet.components.storage.store import check_writable

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker


Value = TypeVar("Value")
NAME = "mlflow.runName"  # a run is looked up by id and tags, never by this


@dataclass
class Made:
    """What a run has made or found so far; None if not reached yet."""

    stages: list[StageResult] = field(default_factory=list)  # in their order
    data: DataStage | None = None
    gold: GoldStage | None = None
    reward: RewardStage | None = None
    candidate: TrainStage | None = None
    dev: EvaluateStage | None = None
    version: str | None = None  # of the candidate in the registry


@dataclass(frozen=True)
class Ending:
    """How a run ends, decided before it is published."""

    status: Status
    verdict: Verdict | None = None
    previous: str | None = None  # the champion before
    reasons: Sequence[str] = ()  # shown on the console
    remark: str | None = None  # shown in the report in addition to the verdict's reasons
    failed_checks: Sequence[str] | None = None  # of a refused reward

    @property
    def outcome(self) -> Outcome | None:
        """What the gate said; without a verdict, of a run that ended before training because no fold was left."""
        if self.verdict is None:
            return Outcome.INVALID if self.status is Status.INVALID else None
        return self.verdict.outcome


def confirm_in_ledger(claim: Claim) -> None:
    """Whether this process may continue the run, by the ledger.

    Raises:
        ClaimLostError: if it may not.
    """
    claim.check()
    claim.confirm()


class Run:
    """A run in progress. A thread sends the figures of its stages to MLflow from the first stage that is made."""

    def __init__(
        self,
        project: Project,
        display: Display,
        claim: Claim,
        confirm: Callable[[Claim], None] = confirm_in_ledger,
        seen: Seen | None = None,
        recorded: bool = True,
    ) -> None:
        """
        Args:
            confirm: raises ClaimLostError if this process may not continue the run.
            seen: what this process has hashed for this run before.
            recorded: whether MLflow and the ledger keep this run; a dry run leaves nothing there.
        """
        self.project, self.display, self.claim, self.recorded = project, display, claim, recorded
        self.started = uptime()
        self.made = Made()
        self.ending: Ending | None = None
        self.figures = Figures(project, claim.run)
        self.run_id: str | None = None  # of the parent run in MLflow, once it is known
        self._confirm = confirm
        watchdog = Watchdog(project.recipe.limits.phase_hours, project.home.stalls / f"{claim.run}.txt")
        self.observer = RunObserver(claim, display, ProgressFile(path_of(project.home, claim.run)), self.figures, watchdog)
        self.context = Context(project.recipe, project.home, self.observer, pause=self.pause_reason, seen=seen or Seen())

    @property
    def identity(self) -> str:
        """Of the run, as :func:`identity_of` has it."""
        return self.claim.run

    @property
    def recipe(self) -> Recipe:
        return self.project.recipe

    @property
    def ledger(self) -> Ledger:
        return self.project.ledger

    @property
    def tracker(self) -> "Tracker":
        return self.project.tracker

    @cached_property
    def trained_on(self) -> TrainedOn:
        """What training saw of the sealed items."""
        return TrainedOn(self.project, self.context)

    @property
    def begun(self) -> str | None:
        """The MLflow run of this identity, if this process or a killed one began it."""
        return self.run_id or self.ledger.open_run(self.identity)

    def hand_over(self) -> None:
        """Leave what was hashed to the next run of this identity in this process."""
        _handed_over[_place(self.project, self.identity)] = self.context.seen

    def confirm(self) -> None:
        """Called before every step with external effects.

        Raises:
            ClaimLostError: if this process may not continue the run.
        """
        self._confirm(self.claim)

    def pause_reason(self) -> str | None:
        """Why this run is to end for now, from memory; None if it continues."""
        hours = self.recipe.limits.hours
        if self.claim.stop_asked_by is not None:
            return f"{self.claim.stop_asked_by} asked for it with `ratchet stop`; the same command resumes it"
        if hours is not None and uptime() - self.started >= 3600 * hours:
            return f"limits.hours: {hours:g} h of this invocation are over; the same command resumes it"
        return None

    def check_pause(self) -> None:
        """Called before a step that takes long.

        Raises:
            PausedError: if the run is to end for now.
        """
        if (reason := self.pause_reason()) is not None:
            raise PausedError(reason)

    def pause(self, end: PausedError) -> RunResult:
        """End for now: the run stays open in the ledger, and the same command resumes it."""
        self.claim.confirm()
        reason = self.pause_reason() or str(end)
        known = self.begun  # by an earlier process, if this one had nothing to record yet
        dataset = self.made.data.version if self.made.data else None
        result = RunResult(
            Status.STOPPED,
            dataset=dataset,
            run_id=known,
            stages=self.stages_as_json(),
            stopped=reason,
            reasons=[f"stopped: {reason}"],
        )
        if self.figures.begun:
            self.figures.tags({"status": Status.STOPPED, NAME: self.name_with(result)})
            self.figures.end(None, "KILLED")
        if known is not None and self.recorded:
            self.ledger.break_run(self.identity, Status.STOPPED)
        return result

    def begin(self) -> None:
        """Begin to record the run: a new one, or the one left by a killed process. MLflow may be away."""
        assert self.recorded
        if self.figures.begun:
            return
        run_id = self.ledger.open_run(self.identity) or uuid4().hex  # of ours, until MLflow has opened the run
        tags = {
            "ratchet.identity": self.identity,
            "recipe_digest": self.recipe.digest,
            **commit_tags(self.project.home.project),
        }
        self.ledger.begin_run(self.identity, self.recipe.name, run_id, self.recipe.roles.model_dump(exclude_none=True))
        self.figures.begin(run_id, self.name_with(None), tags, run_parameters(self.recipe))
        for stage in self.made.stages:
            self.tell(stage.name, stage.key, stage.cached, stage.seconds)

    def name_with(self, result: RunResult | None) -> str:
        """What MLflow calls the run, which has begun; with its end, once it has one."""
        return run_name(self.recipe.name, self.ledger.begun_at(self.identity), result)

    def tell(self, stage: Stage, key: str | None, cached: bool, seconds: float) -> None:
        """A child run for every stage, also for one from the store, which leads to the run that made it."""
        made_by, cost = self._makers.get((stage.value, key), (None, None)) if cached else (None, seconds)
        tags = {"stage_key": key, "made_by": made_by}
        known = {name: value for name, value in tags.items() if value is not None}
        self.figures.finished(stage, cached, known, stage_parameters(self.recipe, stage), cost)

    @cached_property
    def _makers(self) -> Mapping[tuple[str, str | None], tuple[str, float]]:
        return self.ledger.makers()

    def open(self) -> str:
        """The parent run in MLflow, which has all figures so far.

        Raises:
            UnansweredError: if MLflow does not answer for as long as a step waits for it.
        """
        if self.run_id is None:
            self.begin()
            self.run_id = self.figures.opened(self.still_ours)
        return self.run_id

    def insist(self, step: Callable[[], Value]) -> Value:
        """What a step returns that needs MLflow; after an outage it is called again as a whole.

        Raises:
            UnansweredError: if MLflow does not answer for as long as a step waits for it.
        """
        return self.figures.connection.insist(step, self.still_ours)

    def still_ours(self) -> None:
        """Called while waiting.

        Raises:
            ClaimLostError, PausedError: if the run is to end.
        """
        self.claim.check()
        self.check_pause()

    @contextmanager
    def child(self, stage: str) -> Iterator[None]:
        """The child run of a stage in progress, with system metrics; failed if the block raises. A dry run has none."""
        if not self.recorded:
            yield
            return
        self.begin()
        self.figures.start(stage)
        try:
            with system_metrics(lambda step, values: self.figures.metrics(stage, [(step, values)])):
                yield
        except BaseException as error:
            self.figures.end(stage, "KILLED" if isinstance(error, PausedError) else "FAILED")
            raise
        self.figures.end(stage, "FINISHED")

    def add(self, result: StageResult) -> None:
        """A stage is finished."""
        self.made.stages.append(result)
        if self.figures.begun:
            self.tell(result.name, result.key, result.cached, result.seconds)
        self.display.finished(result.name, result.cached, result.seconds)

    def result(self, report: str | None = None) -> RunResult:
        """The result of a run that has an ending."""
        ending, made = self.ending, self.made
        assert ending is not None
        stop = made.candidate.stop if made.candidate else None
        return RunResult(
            ending.status,
            verdict=ending.outcome,
            version=made.version,
            previous=ending.previous,
            dataset=made.data.version if made.data else None,
            run_id=self.run_id,
            report=report,
            stages=self.stages_as_json(),
            failed_checks=ending.failed_checks,
            gold=gold_figures(made),
            reasons=[*([stop.text()] if stop else []), *ending.reasons],
        )

    def stages_as_json(self) -> list[dict[str, Any]]:
        return [stage.as_json() for stage in self.made.stages]

    def close(self, result: RunResult) -> None:
        """End the run in MLflow and in the ledger, if it was begun."""
        if not self.figures.begun:
            return
        said = result.as_json()
        version = {"version": result.version} if result.version else {}
        self.figures.tags({"status": said["status"], "verdict": str(said["verdict"]), **version, NAME: self.name_with(result)})
        self.figures.end(None, "FINISHED")
        self.ledger.finish_run(self.identity, {**said, "gold": result.gold, "said": brief(told_of(self, result), result)})
        show_all_runs(self.project.home, self.ledger, self.project.locks.say)

    def fail(self, status: str) -> None:
        """Note that the process ends before the run does; the ledger keeps the run open, so that it can be resumed.

        Nothing is recorded for a run that another process has taken over, or in an unreachable ledger.
        """
        with suppress(Exception):  # the error that ends the process matters more
            if self.figures.begun and self.claim.ours():
                # An orderly end is stopped, as one by `ratchet stop` is; MLflow knows KILLED alone.
                self.ledger.break_run(self.identity, Status.STOPPED if status == "KILLED" else status.lower())
                self.figures.end(None, status)


# `ratchet run` looks whether there is anything to do before it starts Prefect; the flow that follows in the same process takes
# over what was hashed, once.
_handed_over: dict[tuple[Path, str], Seen] = {}


def _place(project: Project, identity: str) -> tuple[Path, str]:
    return project.home.state, identity


@contextmanager
def claimed_run(
    project: Project, display: Display, confirm: Callable[[Claim], None] = confirm_in_ledger, recorded: bool = True
) -> Iterator[Run]:
    """A run whose MLflow run is closed whatever happens. A second run of the same identity waits for the first.

    Args:
        confirm, recorded: see :class:`Run`.
    """
    check_writable(project.home.state)
    project.home.mark()
    identity = identity_of(project)
    lock = lock_name(identity)

    def say_claimed(holder: str, seconds: float) -> None:
        project.locks.say(f"this run is already in progress as {holder}; waiting until it ends, or is silent for {seconds:g} s")

    with (
        display.live(),
        project.locks.working(lock, "this run is already in progress in another process; waiting for it"),
        claimed(project.ledger, identity, project.locks.place(lock), say_claimed) as claim,
    ):
        run = Run(project, display, claim, confirm, _handed_over.pop(_place(project, identity), None), recorded)
        with run.figures.being_sent():
            try:
                yield run
            except Exception:
                run.fail("FAILED")
                raise
            except BaseException:  # Ctrl-C, or Prefect's own signal on SIGTERM
                with Interruption():  # a second signal must not interrupt this
                    run.fail("KILLED")
                raise
            finally:
                run.observer.close()


def gold_figures(made: Made) -> dict[str, float] | None:
    """What the gold measured of the challenger on dev, and its mutation score, as far as a run came."""
    sampled = made.dev.summary[rows_name(Arm.CHALLENGER, Decoding.SAMPLED)] if made.dev else {}
    measured = sampled[headline(sampled)]["value"] if sampled else None
    found = {"dev": measured, "mutation_score": made.gold.mutation_score if made.gold else None}
    return {name: value for name, value in found.items() if value is not None} or None


def identity_of(project: Project) -> str:
    """hash(recipe, data, graders, code): a killed run with the same identity is resumed, not started again.

    Raises:
        DataError, RecipeError: if a file that the recipe names is missing.
    """
    recipe = project.recipe
    data = made_from(project.home, recipe, kept_digest)
    return digest_of([recipe.digest, sources_digest(), judging_digests(recipe), data])
