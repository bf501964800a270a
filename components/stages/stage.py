"""What every stage is given, and how it finds or makes its finished form."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ratchet.components.home import Home
from ratchet.components.recipe import Recipe
from ratchet.components.store import Finished, Store


class Observer(Protocol):
    """Who watches a stage. Components do not know whether it draws a bar or calls MLflow."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A stage has done ``done`` of ``total``."""

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Durable figures of a stage: they will not be reported again."""

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Durable samples of a stage at a step."""


class Silent:
    """An observer that looks away."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        pass

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        pass

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        pass


SILENT = Silent()


class NotFinished(Exception):  # noqa: N818 - a signal inside the package, not an error
    """A stage that was only looked for is not finished."""


@dataclass(frozen=True)
class Context:
    """One run's recipe and places. With ``compute`` off, stages are only looked up."""

    recipe: Recipe
    home: Home
    observer: Observer = SILENT
    compute: bool = True

    @property
    def store(self) -> Store:
        return Store(self.home.store)


class StageResult(NamedTuple):
    """A finished stage, and whether this run had to make it."""

    finished: Finished
    cached: bool
    seconds: float

    @property
    def path(self) -> Path:
        return self.finished.path

    def summary(self) -> dict[str, Any]:
        """The shape of ``run --json``'s stages."""
        name, key = self.finished.stage, self.finished.key
        return {"name": name, "key": key, "cached": self.cached, "seconds": round(self.seconds, 2)}


def finish(context: Context, stage: str, key: str, write: Callable[[Path], Mapping[str, Any] | None]) -> StageResult:
    """The finished stage from the store, else made by ``write``, which fills a directory and returns facts about it.

    Raises:
        NotFinished: if it is not in the store and the context does not compute.
    """
    started = time.monotonic()
    found = context.store.find(stage, key)
    if found is not None:
        return StageResult(found, True, time.monotonic() - started)
    if not context.compute:
        raise NotFinished(stage)
    made = context.store.commit(stage, key, lambda path: _write(path, write), {})
    return StageResult(made, False, time.monotonic() - started)


def _write(path: Path, write: Callable[[Path], Mapping[str, Any] | None]) -> None:
    from ratchet.components.files import write_json

    facts = write(path)
    if facts is not None:
        write_json(path / "facts.json", dict(facts))
