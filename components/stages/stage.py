"""How to write a stage: make a key from its part of the recipe, its inputs and its code, and call :func:`finish`.

The store returns the finished stage, or the stage's function fills a directory that the store commits. The result
is a subclass of :class:`StageResult`, which reads its files.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from ratchet.components.code.source_code import closure_digest
from ratchet.components.interruption import Interruption
from ratchet.components.recipe import Recipe
from ratchet.components.stages.environment import Environment, environment_here, write_environment
from ratchet.components.storage.digests import kept_digest
from ratchet.components.storage.files import read_json, tree_digests, write_json
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import ENVIRONMENT, FACTS, Finished, Store, stage_key


class Stage(StrEnum):
    """The stages of a run, in order. Values are recorded: directories of the store, names in the ledger, lineage and MLflow."""

    DATA = "data"
    GOLD = "gold"  # judging the grader that is gold
    WARMUP = "warmup"
    CHAMPION = "champion"  # fetching the champion's policy
    REWARD = "reward"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PLAN = "plan"  # what the gate would do: counts no use, reads no sealed item
    SEALED = "sealed"  # scoring a sealed fold, inside the gate
    GATE = "gate"

    def up_to(self) -> "tuple[Stage, ...]":
        """The stages of a run until this one, itself included."""
        stages = tuple(Stage)
        return stages[: stages.index(self) + 1]


COMPUTED = (Stage.WARMUP, Stage.REWARD, Stage.TRAIN)  # their bits depend on where they were made; data are known by content

# Code is part of a stage's key: the module that writes it and all that it imports, without these modules, for these reasons.
NOT_IN_KEYS = {
    "ratchet.components.recipe.gate": "judges what the stages made; what it asks them to score is an argument",
    "ratchet.components.recipe.launch": "says how many processes train; the same checkpoints serve any number",
    "ratchet.components.recipe.loading": "reads and overrides YAML; the values that come out of it are in the key",
    "ratchet.components.recipe.retention": "says how long stages are kept",
    "ratchet.components.recipe.roles": "says who may decide by hand about what the stages made",
    "ratchet.components.recipe.run_limits": "says when a run ends for now; resumed, it makes the same",
    "ratchet.components.recipe.schedule": "says when a run begins",
    "ratchet.components.report.data": "writes report.html, which people read, and no stage",
    "ratchet.components.stages.environment": "says where a stage was made, beside what it made",
    "ratchet.components.stages.launched": "starts and follows the processes that train; what they run counts",
}


class Observer(Protocol):
    """Receives a stage's progress and figures. Components do not know whether it draws a bar or calls MLflow."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Within the block, a phase of a training step is in progress; one that hangs may be ended."""

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Durable figures of a stage: they will not be reported again, except the last ones by ``resumed``."""

    def resumed(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """The last durable figures of an earlier process, which a kill may have kept from reporting them."""

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Durable samples of a stage at a step."""


class Silent:
    """An observer that reports nothing."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        pass

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        pass

    def resumed(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        pass

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        pass


SILENT = Silent()


class NotFinished(Exception):  # noqa: N818 - a signal inside the package, not an error
    """A stage that was only looked up is not finished."""


class Seen:
    """What a run has hashed: finished stages, and files outside the store. Each is hashed once per run."""

    def __init__(self) -> None:
        self.stages: dict[tuple[Stage, str], StageResult] = {}  # by name and key
        self._files: dict[Path, str] = {}

    def digest(self, file: Path) -> str:
        """sha256 of a file."""
        place = file.absolute()
        if place not in self._files:
            self._files[place] = kept_digest(file)
        return self._files[place]

    def tree(self, root: Path) -> dict[str, str]:
        """sha256 of the files of a model that a recipe names, which may be a snapshot of the hub's cache."""
        return tree_digests(root, self.digest, linked=True)


@dataclass(frozen=True)
class Context:
    """One run's recipe and places, and what it has seen. With ``compute`` off, stages are only looked up."""

    recipe: Recipe
    home: Home
    observer: Observer = SILENT
    compute: bool = True
    pause: Callable[[], str | None] = lambda: None  # called between steps of training: why to commit and end early, or None
    seen: Seen = field(default_factory=Seen, repr=False, compare=False)  # shared by what replace() makes of a context

    @property
    def store(self) -> Store:
        return Store(self.home.store)

    def ended_by(self, interruption: Interruption) -> Callable[[], bool]:
        """Whether a training is to commit and end early: by the operator's signal, or for now."""
        return lambda: interruption.requested or self.pause() is not None


@dataclass(frozen=True)
class StageResult:
    """A finished stage, and whether this run had to make it. A subclass reads its files; values parsed once are cached."""

    name: ClassVar[Stage]

    finished: Finished
    cached: bool
    seconds: float

    @property
    def path(self) -> Path:
        return self.finished.path

    @property
    def key(self) -> str:
        return self.finished.key

    @property
    def files(self) -> dict[str, str]:
        """Relative path -> sha256."""
        return self.finished.files

    @property
    def digest(self) -> str:
        """One sha256 over what the stage made."""
        return self.finished.digest

    @cached_property
    def environment(self) -> Environment | None:
        """Where it was made, if it is one of ``COMPUTED``."""
        found = read_json(self.path / ENVIRONMENT) if ENVIRONMENT in self.files else None
        return None if found is None else Environment.model_validate(found)

    def as_json(self) -> dict[str, Any]:
        """The shape of ``run --json``'s stages."""
        return {"name": self.name.value, "key": self.key, "cached": self.cached, "seconds": round(self.seconds, 2)}

    @classmethod
    def find(cls, store: Store, key: str) -> Self | None:
        """The finished stage with this key, or None."""
        found = store.find(cls.name, key)
        return None if found is None else cls(found, cached=True, seconds=0.0)


def key_of(kind: type[StageResult], module: str, configuration: object, inputs: Mapping[str, str]) -> str:
    """The content key of a stage.

    Args:
        module: ``__name__`` of the module that writes it.
        configuration: its part of the recipe, as JSON.
        inputs: digests of what it reads.
    """
    return stage_key(kind.name, configuration, inputs, code_digest(module))


def code_digest(module: str) -> str:
    """sha256 over the code that a stage's module depends on."""
    return closure_digest(module, tuple(NOT_IN_KEYS))


Result = TypeVar("Result", bound=StageResult)
Write = Callable[[Path], Mapping[str, Any] | None]


def finish(context: Context, kind: type[Result], key: str, write: Write) -> Result:
    """The finished stage from the store, else made by ``write``.

    Args:
        write: fills a directory, and may return what goes into its ``facts.json``.

    Raises:
        NotFinished: if it is not in the store and the context does not compute.
    """
    started, stages, name = time.monotonic(), context.seen.stages, (kind.name, key)
    seen = stages.get(name)
    if isinstance(seen, kind) and seen.path.exists():
        return seen
    if (found := context.store.find(kind.name, key)) is not None:
        result = kind(found, cached=True, seconds=time.monotonic() - started)
        stages[name] = result
        return result
    if not context.compute:
        raise NotFinished(kind.name)
    made = context.store.commit(kind.name, key, lambda path: _write(context, kind.name, path, write), {})
    result = kind(made, cached=False, seconds=time.monotonic() - started)
    stages[name] = replace(result, cached=True, seconds=0.0)  # for the next look: this run made it only once
    return result


def _write(context: Context, name: Stage, path: Path, write: Write) -> None:
    project, threads = context.home.project, context.recipe.threads
    # Read before the work: libraries and lock may be upgraded during a training.
    here = environment_here(project, threads) if name in COMPUTED else None
    facts = write(path)
    if facts is not None:
        write_json(path / FACTS, dict(facts))
    if here is not None:
        write_environment(path, here, project)
