"""A training with its models in memory: ordered, run and saved alike in the run's own process and in each rank of a job."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet.components.errors import PausedError
from ratchet.components.recipe import Recipe
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Observer, StageResult
from ratchet.components.storage.files import write_json, write_json_lines
from ratchet.components.storage.store import ENVIRONMENT, FACTS, Finished

if TYPE_CHECKING:
    from ratchet.components.launch.ranks import Ranks
    from ratchet.components.policy.loading import Policy
    from ratchet.components.training.estimate import MemoryPlan
    from ratchet.components.training.events import Resumed, Samples, StepMetrics
    from ratchet.components.training.loop import Trainer

CHECKPOINTS = "checkpoints"
JOB = "job"  # the directory of a job of ranks, beside its checkpoints
READ: Mapping[str, type[StageResult]] = {"data": DataStage, "start": PolicyStage, "reward": RewardStage}


@dataclass(frozen=True)
class TrainingFacts:
    """The facts of a training."""

    algorithm: str
    k: int
    best_step: int
    steps: int
    stopped: str | None  # the sentinel's reason
    stop: dict[str, Any] | None  # its figures
    exact: bool  # false if training was resumed in another environment, or an outside engine drew
    memory: dict[str, Any]  # the values of ``train`` chosen by available memory
    launch: dict[str, Any] | None = None  # kind, ranks and sharded of the last job; None: the run's own process
    lost: list[int] | None = None  # evaluated steps that could not be the candidate: their checkpoints were damaged or gone
    engine: str | None = None  # what drew the completions, if not Ratchet's own engines; then no bits are promised

    def as_json(self) -> dict[str, Any]:
        """As ``facts.json`` has them."""
        unused = {name for name in ("launch", "lost", "engine") if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in unused}


@dataclass(frozen=True)
class Order:
    """What is to be trained, from which finished stages, and where; it reaches the ranks of a job as JSON."""

    recipe: Recipe
    data: DataStage
    start: PolicyStage
    reward: RewardStage
    key: str
    checkpoints: Path

    def as_json(self) -> dict[str, Any]:
        stages = {name: str(getattr(self, name).path) for name in READ}
        return {"recipe": self.recipe.model_dump(mode="json"), "key": self.key, "checkpoints": str(self.checkpoints), **stages}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Order":
        """Of the stages their folders are known, whose files were verified by whoever gives the order."""
        finished = {name: Finished(name, "", Path(values[name]), {"files": {}}) for name in READ}
        data, start, reward = (kind(finished[name], True, 0.0) for name, kind in READ.items())
        assert isinstance(data, DataStage) and isinstance(start, PolicyStage) and isinstance(reward, RewardStage)
        recipe = Recipe.model_validate(values["recipe"])
        return cls(recipe, data, start, reward, values["key"], Path(values["checkpoints"]))


@dataclass(frozen=True)
class Training:
    """A training with its models in memory."""

    trainer: "Trainer"
    plan: "MemoryPlan"
    recipe: Recipe
    load: "Callable[..., Policy]"
    ranks: "Ranks"

    def run(self, observer: Observer) -> None:
        """Train to the end.

        Raises:
            PausedError: if it ended early, after a checkpoint.
        """
        from ratchet.components.checkpoints.checkpoint import INTERRUPTED
        from ratchet.components.training.sampling_engine import sampling_engine

        trainer, limit, given = self.trainer, self.recipe.limits.samples, self.trainer.setting
        train, rows, identity = given.train, given.task.rows, given.storage.identity
        with sampling_engine(train, trainer.actor, rows, identity, self.ranks) as engine:
            trainer.setting = replace(given, engine=engine)
            _observe(observer, trainer)
        if not trainer.finished:
            raise PausedError(spent(trainer.progress.samples, limit) if trainer.spent else INTERRUPTED)

    def save(self, path: Path) -> TrainingFacts:
        """Write the candidate, what else is kept, figures and samples into a directory."""
        import torch

        from ratchet.components.training.progress import sampled_rows, training_history
        from ratchet.components.training.sampling_engine import engine_name

        drew = engine_name(self.trainer.setting.engine)
        checkpoints, progress = self.trainer.setting.storage.checkpoints, self.trainer.progress
        progress.forget_damaged(checkpoints)
        on_host = partial(self.load, device=torch.device("cpu"))
        _save_kept(self.trainer, on_host, path)
        _save(self.trainer, on_host, path)
        history = training_history(checkpoints)
        write_json_lines(path / "metrics.jsonl", [{"step": step, "values": values} for step, values in history])
        write_json_lines(path / "samples.jsonl", sampled_rows(checkpoints))
        launch = {"kind": self.recipe.launch.kind, "ranks": self.ranks.size, "sharded": self.ranks.sharded}
        return TrainingFacts(
            algorithm=self.recipe.train.algorithm,
            k=self.recipe.train.group_size,
            best_step=progress.best_step,
            steps=progress.step,
            stopped=progress.stopped,
            stop=progress.stop and progress.stop._asdict(),
            exact=progress.exact and drew is None,
            memory=self.plan.choice._asdict() | ({"smaller": progress.smaller} if progress.smaller else {}),
            launch=launch if self.ranks.size > 1 else None,
            lost=progress.lost or None,
            engine=drew,
        )

    def save_with_facts(self, path: Path, computed: Mapping[str, Any]) -> None:
        """The same, with the facts among the files.

        Args:
            computed: this rank's machine and libraries, for :func:`write_environment`.
        """
        write_json(path / FACTS, self.save(path).as_json())
        write_json(path / ENVIRONMENT, computed)


def spent(samples: int, limit: int | None) -> str:
    """Why a training that drew its completions ended."""
    remedy = "raise it (--set limits.samples=N) and run the same command to resume"
    return f"limits.samples: {samples} completions were drawn, and the limit is {limit}; {remedy}"


def _save(trainer: Any, load: Callable[[], Any], path: Path) -> None:
    """The best policy as one model, and the adapter alone if there is one."""
    from ratchet.components.policy.loading import save_policy

    if trainer.setting.ranks.sharded:
        actor = _actor_at(trainer, load, trainer.progress.best_step)
    else:
        trainer.best_policy()
        actor = trainer.actor
    if actor.adapter is not None:
        actor.adapter.save(path / "adapter")
    save_policy(actor.merged(), path / "model")


def _save_kept(trainer: Any, load: Callable[[], Any], path: Path) -> None:
    """The best trained policy by the gold, and the last one, unless they are the candidate; each a model of its own.

    Args:
        load: a copy of the starting policy in the host's memory, because the device's may be full.
    """
    from ratchet.components.policy.loading import save_policy

    progress = trainer.progress
    for step in sorted({progress.best_trained_step, progress.step} - {0, progress.best_step}):
        save_policy(_actor_at(trainer, load, step).merged(), path / CHECKPOINTS / f"step_{step:06d}" / "model")


def _actor_at(trainer: Any, load: Callable[[], Any], step: int) -> Any:
    """The actor of a checkpoint, whole, in the host's memory."""
    from ratchet.components.checkpoints.checkpoint import load_weights, weights_of
    from ratchet.components.training.actor import Actor

    setting = trainer.setting
    actor = Actor(load(), setting.train, setting.seed)
    load_weights(actor, weights_of(setting.storage.checkpoints, step, "policy"))
    return actor


def _observe(observer: Observer, trainer: "Trainer") -> None:
    """Drive the loop, and tell the observer of its events."""
    from ratchet.components.training.events import Committed, Resumed, Samples

    reports = _Reports(observer, trainer.setting.train.steps)
    for event in trainer.run():
        if isinstance(event, Resumed):
            reports.resumed(event)
        elif isinstance(event, Samples):
            reports.samples.append(event)
        elif isinstance(event, Committed):
            reports.committed()
        else:
            reports.step(event)


class _Reports:
    """What an observer is told: progress at once, figures and samples when the checkpoint that covers them is durable."""

    def __init__(self, observer: Observer, steps: int) -> None:
        self.observer, self.steps = observer, steps
        self.accuracy = float("nan")  # of the last dev evaluation
        self.known = -1  # the last step of which an earlier process may have told
        self.points: list[tuple[int, Mapping[str, float]]] = []  # since the last checkpoint, and so are samples
        self.samples: list[Samples] = []

    def resumed(self, event: "Resumed") -> None:
        self.known = event.known
        self.observer.resumed("train", [(point.step, point.values) for point in event.points])
        for point in event.points:
            self._note(point)
        if event.samples is not None:
            self._show(event.samples)
        if event.points:
            self.observer.progress("train", event.points[-1].step, self.steps, "resumed")

    def step(self, event: "StepMetrics") -> None:
        self.points.append((event.step, event.values))
        self._note(event)
        note = f"dev gold {self.accuracy:.3f}"
        if "reward" in event.values:
            note = f"reward {event.values['reward']:.3f}, {note}"
        self.observer.progress("train", event.step, self.steps, note)

    def committed(self) -> None:
        self.observer.resumed("train", [point for point in self.points if point[0] <= self.known])
        self.observer.metrics("train", [point for point in self.points if point[0] > self.known])
        for table in self.samples:
            self._show(table)
        self.points, self.samples = [], []

    def _note(self, point: "StepMetrics") -> None:
        self.accuracy = point.values.get("eval_sampled_accuracy", self.accuracy)

    def _show(self, table: "Samples") -> None:
        self.observer.samples("train", table.step, table.rows)
