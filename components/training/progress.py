"""A run's progress: the JSON state of a checkpoint, the run that it belongs to, and the metrics kept beside it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ratchet.components.checkpoints import checkpoint as checkpoints
from ratchet.components.checkpoints.checkpoint import is_whole
from ratchet.components.checkpoints.steps import in_order, step_of
from ratchet.components.errors import StoreError
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.loading import Policy
from ratchet.components.recipe import Train
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import read_json
from ratchet.components.training.optimizers import environment_of
from ratchet.components.training.sentinel import SentinelState, Stop


@dataclass
class Progress:
    """What a resumed run needs besides weights and moments."""

    kl_coefficient: float
    step: int = 0
    samples: int = 0  # completions drawn, refills included
    stop: Stop | None = None  # why the sentinel ended training
    exact: bool = True  # false after a resume in another environment
    dev_scores: dict[str, float] = field(default_factory=dict)  # step -> sampled accuracy on dev
    train_accuracy: tuple[float, int] = (0.0, 0)  # sum and steps since the last dev evaluation
    smaller: dict[str, int] = field(default_factory=dict)  # of the token budget
    sentinel: SentinelState = field(default_factory=SentinelState)
    lost: list[int] = field(default_factory=list)  # evaluated steps that cannot be the candidate, see :meth:`forget`

    def state(self, identity: str, environment: Mapping[str, str]) -> dict[str, Any]:
        """As JSON, without the step, which the checkpoint adds."""
        values = asdict(self)
        del values["step"]
        return {**values, "stop": self.stop and self.stop._asdict(), "identity": identity, "environment": dict(environment)}

    @classmethod
    def resumed(cls, state: Mapping[str, Any], environment: Mapping[str, str]) -> "Progress":
        """Resume from a checkpoint's state. In another environment (library, device, threads) the run is no longer exact."""
        known = {name: state[name] for name in ("kl_coefficient", "step", "samples")}
        return cls(
            **known,
            stop=state["stop"] and Stop(**state["stop"]),
            exact=state["exact"] and state["environment"] == dict(environment),
            dev_scores=dict(state["dev_scores"]),
            lost=list(state["lost"]),
            smaller=dict(state["smaller"]),
            train_accuracy=(state["train_accuracy"][0], state["train_accuracy"][1]),
            sentinel=SentinelState.resumed(state["sentinel"]),
        )

    @property
    def stopped(self) -> str | None:
        """The reason for which training was stopped; None while it was not."""
        return self.stop.reason if self.stop else None

    @property
    def best_step(self) -> int:
        """The step with the best dev score; the earliest if tied."""
        return self._best_after(-1)

    @property
    def best_trained_step(self) -> int:
        """The same without the starting policy; 0 before a trained one was evaluated."""
        return self._best_after(0)

    def _best_after(self, step: int) -> int:
        evaluated = (int(s) for s in self.dev_scores if int(s) > step)  # JSON has no other keys than strings
        return min(evaluated, key=lambda s: (-self.dev_scores[str(s)], s), default=0)

    def forget(self, step: int) -> None:
        """A step whose checkpoint is damaged or gone cannot be the candidate. In a rebuild it can, so the run is not exact."""
        del self.dev_scores[str(step)]
        self.lost.append(step)
        self.exact = False

    def forget_damaged(self, root: Path) -> None:
        """Forget evaluated steps until the best one, and the best trained one, have whole checkpoints below ``root``.

        Raises:
            StoreError: if no evaluated step has one.
        """
        first = self.best_step
        for step in sorted((int(s) for s in self.dev_scores), key=lambda s: (-self.dev_scores[str(s)], s)):
            if step in (self.best_step, self.best_trained_step) and not is_whole(root, step):
                self.forget(step)
        if not self.dev_scores:
            raise StoreError(f"no evaluated checkpoint in {root} is whole. Delete that directory to train from the start.")
        if self.best_step != first:
            said = "the checkpoint of step %d, the best on dev, is damaged: step %d, the best that is whole, takes its place"
            logging.getLogger(__name__).warning(said, first, self.best_step)

    def note_accuracy(self, accuracy: float | None) -> None:
        """Add a step's accuracy on its training prompts."""
        if accuracy is not None:
            total, steps = self.train_accuracy
            self.train_accuracy = (total + accuracy, steps + 1)

    def train_accuracy_since_evaluation(self) -> float | None:
        """Mean accuracy on training prompts since the last call; None without any."""
        (total, steps), self.train_accuracy = self.train_accuracy, (0.0, 0)
        return total / steps if steps else None


def environment(policy: Policy, train: Train, ranks: Ranks = ONE) -> dict[str, str]:
    """What must be equal for a resumed run to give the same bits as an uninterrupted one; the same on all ranks."""
    own = json.dumps(checkpoints.environment(policy.model.device)).encode()
    first, *others = (json.loads(found) for found in ranks.exchange(own))
    return {
        **first,
        "precision": train.precision,
        "micro_tokens": str(train.micro_tokens),
        "deterministic": str(train.deterministic),
        **environment_of(train.optimizer),
        **({"ranks": str(ranks.size), "sharded": str(ranks.sharded)} if ranks.size > 1 else {}),
        **({"others": digest_of(others)} if any(other != first for other in others) else {}),
    }


def metrics_file(checkpoints: Path, step: int) -> Path:
    """The file of the figures between the previous checkpoint and this one."""
    return checkpoints / "metrics" / f"step_{step:06d}.json"


def samples_file(checkpoints: Path, step: int) -> Path:
    """The file of a step's samples."""
    return checkpoints / "samples" / f"step_{step:06d}.json"


def forget_after(checkpoints: Path, step: int) -> int:
    """Delete figures and samples of later checkpoints than the one from which training continues: it makes these steps again.

    Returns:
        The last step of which there were any, else ``step``.
    """
    files = [file for kind in ("metrics", "samples") for file in (checkpoints / kind).glob("step_*.json")]
    later = {file: at for file in files if (at := step_of(file)) > step}
    for file in later:
        file.unlink()
    return max(later.values(), default=step)


def training_history(checkpoints: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics) of a run, in order of step."""
    return [(step, values) for file in in_order(checkpoints / "metrics", "step_*.json") for step, values in read_json(file)]


def sampled_rows(checkpoints: Path) -> list[dict[str, Any]]:
    """All sampled completions of a run, in order of step."""
    return [row for file in in_order(checkpoints / "samples", "step_*.json") for row in read_json(file)]
