"""What the loop yields: figures, samples, and what is durable. It does not know who records them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one training step, or of a dev evaluation after it."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Samples:
    """Some of a step's completions, with each reward and the advantage."""

    step: int
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Committed:
    """A checkpoint is durable; what was yielded up to its step will not be repeated by a resumed run."""

    step: int


@dataclass(frozen=True)
class Resumed:
    """What the checkpoint that a run begins from covers since the one before: a kill may have come before anybody noted it."""

    points: Sequence[StepMetrics]
    samples: Samples | None
    known: int  # the last step whose figures may be noted; it is made again if a newer checkpoint was damaged


Event = StepMetrics | Samples | Committed | Resumed
