"""The RL loop: one for every algorithm. Each step: roll out, score, advantages, update; now and then: evaluate, checkpoint.

The loop yields what happens and does not know who records it. It is exactly resumable: every draw depends on the step
number, and a checkpoint holds the weights and moments of actor and critic, the sentinel and the dev scores.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.algorithms.advantages import explained_variance
from components.faults import point
from components.files import read_json, write_json
from components.policy.loading import Policy, autocast
from components.policy.log_probs import score_tokens
from components.policy.packing import PackedRows
from components.policy.sampling import SamplingSeed, SamplingSettings
from components.randomness import batch_indices, stream
from components.recipe import Train
from components.rewards.protocol import RewardFunction
from components.training.checkpoints import load_latest, load_weights, prune, save_checkpoint, weights_of
from components.training.critic import Critic, parameters_of
from components.training.experience import (
    Experience,
    Rollouts,
    critic_experience,
    group_experience,
    roll_out,
    rollout_metrics,
)
from components.training.sentinel import Sentinel
from components.training.update import token_matrix, update_critic, update_policy

DevEvaluation = Callable[[Policy], Mapping[str, float]]
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one training step, or of a dev evaluation after it."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Committed:
    """A checkpoint is durable; metrics up to its step will not be repeated by a resumed run."""

    step: int


@dataclass(frozen=True)
class Setting:
    """What a training run is given."""

    train: Train
    seed: int
    rows: Sequence[Mapping[str, Any]]
    max_new_tokens: int
    reward: RewardFunction
    evaluate: DevEvaluation
    checkpoints: Path


@dataclass
class Progress:
    """The JSON state of a checkpoint."""

    step: int = 0
    stopped: str | None = None
    dev_scores: dict[str, float] = field(default_factory=dict)  # step -> sampled accuracy on dev
    sentinel: Sentinel = field(default_factory=Sentinel)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        return cls(state["step"], state["stopped"], dict(state["dev_scores"]), Sentinel(**state["sentinel"]))

    @property
    def best_step(self) -> int:
        """The step with the best dev score; the earliest of equals."""
        return min((int(s) for s in self.dev_scores), key=lambda s: (-self.dev_scores[str(s)], s), default=0)


def metrics_file(checkpoints: Path, step: int) -> Path:
    """Where the figures up to a checkpoint, since the one before it, are kept."""
    return checkpoints / "metrics" / f"step_{step:06d}.json"


def training_history(checkpoints: Path) -> list[tuple[int, dict[str, float]]]:
    """All figures of a run, in order of step."""
    files = sorted((checkpoints / "metrics").glob("step_*.json"))
    return [(step, values) for file in files for step, values in read_json(file)]


class Trainer:
    """Holds a run's models and optimisers; :meth:`run` is the story."""

    def __init__(self, policy: Policy, reference: Policy | None, setting: Setting) -> None:
        """
        Args:
            reference: the starting policy, where the recipe asks for a KL term.
        """
        assert (reference is not None) == (setting.train.kl != "none")
        self.policy, self.reference, self.setting = policy, reference, setting
        train = setting.train
        self.optimizer = torch.optim.AdamW(parameters_of(policy.model), lr=train.lr, betas=BETAS, weight_decay=0.0)
        self.modules: dict[str, Any] = {"policy": (policy.model, self.optimizer)}
        self.critic: Critic | None = None
        if train.algorithm == "ppo":
            self.critic = Critic(policy.model)
            self.critic_optimizer = torch.optim.AdamW(
                parameters_of(self.critic), lr=train.critic_lr, betas=BETAS, weight_decay=0.0
            )
            self.modules["critic"] = (self.critic, self.critic_optimizer)
        self.progress = Progress()
        self.points: list[StepMetrics] = []  # since the last checkpoint

    def run(self) -> Iterator[StepMetrics | Committed]:
        """Train to the end, from the newest whole checkpoint where there is one."""
        state = load_latest(self.setting.checkpoints, self.modules)
        if state is not None:
            self.progress = Progress.from_state(state)
        else:
            yield self._noted(self._evaluate())
            yield self._commit()
        while self.progress.step < self.setting.train.steps and self.progress.stopped is None:
            yield self._noted(self._step())
            last = self.progress.step == self.setting.train.steps or self.progress.stopped is not None
            if last or self.progress.step % self.setting.train.evaluate_every == 0:
                yield self._noted(self._evaluate())
                yield self._commit()

    def best_policy(self) -> Policy:
        """The policy of the checkpoint with the best dev score."""
        weights = weights_of(self.setting.checkpoints, self.progress.best_step, "policy")
        load_weights(self.policy.model, weights)
        return self.policy

    def _noted(self, metrics: StepMetrics) -> StepMetrics:
        """Keep a step's figures; one that is not finite is left out, and the sentinel says so."""
        finite = {name: value for name, value in metrics.values.items() if math.isfinite(value)}
        self.points.append(StepMetrics(metrics.step, finite))
        return self.points[-1]

    def _evaluate(self) -> StepMetrics:
        values = self.setting.evaluate(self.policy)
        score = values["eval_sampled_accuracy"]
        self.progress.dev_scores[str(self.progress.step)] = score if math.isfinite(score) else -1.0
        return StepMetrics(self.progress.step, values)

    def _commit(self) -> Committed:
        # Figures first: a run killed in between writes the same file again.
        points = [[at.step, dict(at.values)] for at in self.points]
        write_json(metrics_file(self.setting.checkpoints, self.progress.step), points)
        self.points = []
        state = {k: v for k, v in asdict(self.progress).items() if k != "step"}
        save_checkpoint(self.setting.checkpoints, self.progress.step, self.modules, state)
        prune(self.setting.checkpoints, self.setting.train.keep_checkpoints, self.progress.best_step)
        return Committed(self.progress.step)

    def _step(self) -> StepMetrics:
        started, step, train = time.monotonic(), self.progress.step, self.setting.train
        rollouts = self._roll_out(step)
        rolled_out = time.monotonic()
        experience = self._experience(rollouts)
        orders = [stream(self.setting.seed, "order", step, e).permutation(train.prompts).tolist() for e in range(train.epochs)]
        metrics = rollout_metrics(rollouts)
        point(f"train:{step}:update")
        learning_rate = self._set_learning_rate(step)
        stepped, skipped = 0, int(not torch.isfinite(experience.old_log_probs).all())
        if self.critic is not None:
            totals = update_critic(self.critic, self.critic_optimizer, rollouts, experience, train, orders)
            metrics |= totals.means() | self._critic_metrics(experience)
            stepped, skipped = stepped + totals.steps, skipped + totals.skipped
        if self.critic is None or step >= train.critic_warmup_steps:
            totals = update_policy(self.policy, self.optimizer, rollouts, experience, train, orders)
            metrics |= totals.means() | {"grad_norm": totals.grad_norm / max(1, totals.steps)}
            stepped, skipped = stepped + totals.steps, skipped + totals.skipped
        self.progress.step += 1
        self.progress.stopped = self.progress.sentinel.observe(stepped, skipped)
        times = {"step_time": time.monotonic() - started, "rollout_time": rolled_out - started}
        return StepMetrics(self.progress.step, metrics | times | {"learning_rate": learning_rate, "skipped": float(skipped)})

    def _roll_out(self, step: int) -> Rollouts:
        train = self.setting.train
        numbers = batch_indices(self.setting.seed, "prompts", step, train.prompts, len(self.setting.rows)).tolist()
        rows = [self.setting.rows[i] for i in numbers]
        settings = SamplingSettings(train.group_size, self.setting.max_new_tokens, train.temperature)
        self.policy.model.eval()
        with autocast(self.policy.model.device):
            seed = SamplingSeed(self.setting.seed, "rollout", step)
            return roll_out(self.policy, rows, numbers, settings, seed, self.setting.reward)

    def _experience(self, rollouts: Rollouts) -> Experience:
        train = self.setting.train
        reference = self._reference_log_probs(rollouts)
        reward_kl = train.kl_coefficient if train.kl == "reward" else 0.0
        if self.critic is None:
            return group_experience(rollouts, reference, reward_kl)
        values = token_matrix(rollouts, self.critic, train.micro_tokens, self.policy.model.device)
        return critic_experience(rollouts, values, reference, reward_kl, train.gamma, train.gae_lambda)

    def _reference_log_probs(self, rollouts: Rollouts) -> Tensor | None:
        if self.reference is None:
            return None
        model, temperature = self.reference.model, self.setting.train.temperature

        def log_probs(rows: PackedRows) -> Tensor:
            return score_tokens(model, rows, temperature).log_probs

        return token_matrix(rollouts, log_probs, self.setting.train.micro_tokens, model.device)

    def _critic_metrics(self, experience: Experience) -> dict[str, float]:
        assert experience.values is not None and experience.returns is not None
        mask = experience.mask
        if not mask.any():
            return {}
        values, returns = experience.values[mask], experience.returns[mask]
        return {"explained_variance": explained_variance(returns, values), "values/mean": float(values.mean())}

    def _set_learning_rate(self, step: int) -> float:
        """Linear decay to a tenth over the run."""
        factor = max(0.1, 1 - step / self.setting.train.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting.train.lr * factor
        return self.setting.train.lr * factor
