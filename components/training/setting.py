"""The inputs of a training run: what is learned, by which numbers, what is kept, and what ends it early."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import RolloutEngine
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Train
from ratchet.components.training.device_memory import Watch
from ratchet.components.training.meters import PhaseLimit, unlimited
from ratchet.components.training.sentinel import DevResult

DevEvaluation = Callable[[Policy], DevResult]


@dataclass(frozen=True)
class RewardedPrompts:
    """What is answered, and what an answer is worth."""

    rows: Sequence[Mapping[str, Any]]
    max_new_tokens: int
    reward: RewardFunction
    gold: RewardFunction = grade_numbers  # judges completions for the figures
    rewarding: Callable[[], AbstractContextManager[object]] = nullcontext  # around rewards; all ranks enter it at once

    @property
    def other_gold(self) -> RewardFunction | None:
        """The gold; None if it is the reward, which has graded every completion already."""
        return None if self.gold is self.reward else self.gold


@dataclass(frozen=True)
class Storage:
    """What is kept of a run."""

    checkpoints: Path  # a folder
    identity: str = ""  # of recipe, data, start and code: a checkpoint of another identity is rejected
    sample_rows: int = 8  # of each batch before an evaluation


@dataclass(frozen=True)
class EarlyEnd:
    """What ends a run, or a phase of it, before its last step."""

    interrupted: Callable[[], bool] = lambda: False  # called after each step: whether to commit and end early
    samples: int | None = None  # completions, over all resumed runs, after which no step begins
    phase_limit: PhaseLimit = unlimited  # ends a phase that hangs


@dataclass(frozen=True)
class Setting:
    """The inputs of a training run."""

    train: Train
    seed: int
    task: RewardedPrompts
    evaluate: DevEvaluation
    storage: Storage
    early_end: EarlyEnd = field(default_factory=EarlyEnd)
    engine: RolloutEngine = generate
    memory: Watch | None = None
    ranks: Ranks = ONE  # this process among those that train together
    evaluate_again: Sequence[DevEvaluation] = ()  # with other draws, each with its own: the sentinel's second opinion
