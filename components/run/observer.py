"""What a run's stages report: to the display, the progress file, the watchdog, and the stage's child run in MLflow."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ratchet.components.launch.watchdog import Watchdog
from ratchet.components.ledger.claims import Claim
from ratchet.components.run.figures import Figures
from ratchet.components.run.progress import Display, ProgressFile
from ratchet.components.text import visible


@dataclass(frozen=True)
class RunObserver:
    """See :class:`ratchet.components.stages.stage.Observer`. MLflow is told nothing before the run has begun there."""

    claim: Claim
    display: Display
    file: ProgressFile
    figures: Figures
    watchdog: Watchdog

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A run that lost its claim ends here, between two steps of training."""
        self.claim.check()
        self.file.note(stage, done, total, note)
        self.display.progress(stage, done, total, note)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """The watchdog ends a phase that hangs."""
        return self.watchdog.phase(name)

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Durable figures go to the stage's child run."""
        if self.figures.begun:
            self.figures.metrics(stage, points)

    def resumed(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Figures that an earlier process may have recorded already."""
        if self.figures.begun:
            self.figures.metrics(stage, points, again=True)

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of samples goes to the stage's child run."""
        if self.figures.begun:
            shown = [{k: visible(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows]
            self.figures.table(stage, shown, f"samples/step_{step:06d}.json")

    def close(self) -> None:
        """The process continues without the run."""
        self.file.delete()
        self.watchdog.close()
