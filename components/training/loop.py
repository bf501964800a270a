"""The RL loop: one for every algorithm. Each step: roll out, score, advantages, update; periodically: evaluate, checkpoint.

The loop yields events and does not know who records them. It is exactly resumable: every draw depends on the step
number, and a checkpoint holds the weights and moments of actor and critic, the KL coefficient, the sentinel and the dev scores.

Left out, compared with PPO and GRPO elsewhere:
1. A forward pass for the old log-probs: the sampler's own are of the same weights; another engine's get importance weights.
2. Rollouts older than one update, and so replay and off-policy masks: each batch comes from the weights that it updates.
3. A value for the state after a completion that was cut: it counts as ended, and ``sampling.overlong`` masks or penalises it.
4. An entropy bonus and early stopping by KL: an entropy or a KL that leaves its range is a fault, which the sentinel reports.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ratchet.components.algorithms.kl import adapted_coefficient
from ratchet.components.algorithms.learning_rate import learning_rate
from ratchet.components.checkpoints.checkpoint import (
    check_identity,
    is_whole,
    load_latest,
    load_weights,
    other_weights,
    prune,
    save_checkpoint,
    set_learning_rate,
    weights_of,
)
from ratchet.components.faults import point
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.compilation import compiled_layers
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.sharding import whole
from ratchet.components.randomness import stream
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.training.actor import Actor
from ratchet.components.training.batch import roll_out_batch
from ratchet.components.training.critic import Critic
from ratchet.components.training.events import Committed, Event, Resumed, Samples, StepMetrics
from ratchet.components.training.experience import Experience, Scored, build_experience, completion_divergence
from ratchet.components.training.meters import Means, Phases
from ratchet.components.training.metrics import experience_figures, rollout_figures, sample_rows
from ratchet.components.training.micro_batches import MicroBatch, TokenBudget, token_matrix
from ratchet.components.training.objectives import ActorObjective, UpdateBatch, ValueObjective
from ratchet.components.training.optimizers import build_optimizer
from ratchet.components.training.progress import Progress, environment, forget_after, metrics_file, samples_file
from ratchet.components.training.rollouts import Rollouts
from ratchet.components.training.sentinel import NONFINITE, DevResult, Stop
from ratchet.components.training.setting import Setting
from ratchet.components.training.sharded_models import shard_models
from ratchet.components.training.update import parameters_of, run_update


class Trainer:
    """A run's models and optimisers; :meth:`run` is the loop."""

    def __init__(self, actor: Actor, reference: Reference | None, setting: Setting) -> None:
        """
        Args:
            reference: the starting policy, if the recipe has a KL term.
        """
        train = setting.train
        assert (reference is not None) == train.needs_reference
        self.actor, self.reference, self.setting = actor, reference, setting
        self.critic: Critic | None = None
        if train.has_critic and actor.value_head is None:
            self.critic = Critic(actor.model, likelihood=train.critic.sees == "likelihood")
        if setting.ranks.sharded:
            shard_models(actor, self.critic)  # after the critic has copied the trunk, before optimisers know the parameters
        self.optimizer = build_optimizer(train.optimizer, parameters_of(actor), train.lr)
        self.modules: dict[str, Any] = {"policy": (actor, self.optimizer)}
        if self.critic is not None:
            self.critic_optimizer = build_optimizer(train.optimizer, parameters_of(self.critic), train.critic.lr)
            self.modules["critic"] = (self.critic, self.critic_optimizer)
        self.environment = environment(actor.policy, train, setting.ranks)
        self.progress = Progress(kl_coefficient=train.kl_coefficient)
        self.budget = self._budget()
        self.points: list[StepMetrics] = []  # since the last checkpoint
        self.samples: Samples | None = None  # of the last step

    @property
    def corrects(self) -> bool:
        """Whether the trainer rescores the rollouts and weights each token by the importance ratio to the sampler."""
        correction = self.setting.train.loss.correction
        return correction == "truncated" or (correction == "auto" and self.setting.engine is not generate)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.progress.step >= self.setting.train.steps or self.progress.stopped is not None

    @property
    def spent(self) -> bool:
        """Whether the completions that the run may draw are drawn."""
        limit = self.setting.early_end.samples
        return limit is not None and self.progress.samples >= limit

    def run(self) -> Iterator[Event]:
        """Train to the end, from the newest complete checkpoint if there is one; or until interrupted or out of samples.

        Raises:
            StoreError: if the checkpoints belong to another run, or none is complete.
        """
        state = self._load(partial(check_identity, identity=self.setting.storage.identity))
        if state is not None:
            self.progress = Progress.resumed(state, self.environment)
            self.budget = self._budget()
            yield self._resumed()
        else:
            yield self._noted(self._evaluate())
            yield self._commit()
        while not self.finished:
            if self.spent:
                yield self._commit()
                return
            yield self._noted(self._step())
            # The evaluation comes before the commit: its score decides which checkpoints are kept, and it may stop the run.
            due = self.finished or self.progress.step % self.setting.train.evaluate_every == 0
            if due or self.progress.sentinel.wants_evaluation(self.progress.step, self.setting.train.sentinel):
                yield self._noted(self._evaluate())
                if due:
                    yield from self._sampled()
                yield self._commit()
            if self.setting.ranks.any(self.setting.early_end.interrupted()):
                yield self._commit()
                return

    def best_policy(self) -> Policy:
        """The policy of the checkpoint with the best dev score; the adapter, if there is one, is not merged."""
        load_weights(self.actor, weights_of(self.setting.storage.checkpoints, self.progress.best_step, "policy"))
        return self.actor.policy

    def _budget(self) -> TokenBudget:
        """The tokens per forward pass, after any reductions."""
        train, ranks = self.setting.train, self.setting.ranks
        return TokenBudget(train.tokens_at_once, train.smaller, self.progress.smaller, ranks)

    def _noted(self, metrics: StepMetrics) -> StepMetrics:
        """Keep a step's figures; non-finite ones are left out, and the sentinel reports them."""
        finite = {name: value for name, value in metrics.values.items() if math.isfinite(value)}
        self.points.append(StepMetrics(metrics.step, finite))
        return self.points[-1]

    def _evaluate(self) -> StepMetrics:
        with self.setting.early_end.phase_limit("dev evaluation"), whole(self.actor):
            result = self.setting.evaluate(self.actor.policy)
        self._stop(self.progress.sentinel.observe_dev(self.progress.step, result, self.setting.train.sentinel))
        self._stop(self._second_opinion())
        values = dict(result.figures)
        score = values["eval_sampled_accuracy"]
        self.progress.dev_scores[str(self.progress.step)] = score if math.isfinite(score) else -1.0
        gap = self.progress.train_accuracy_since_evaluation()
        return StepMetrics(self.progress.step, values | ({} if gap is None else {"train_dev_gap": gap - score}))

    def _second_opinion(self) -> Stop | None:
        """Where gold seems to have fallen: whether it has, by other completions of the best checkpoint and of this policy."""
        progress, limits = self.progress, self.setting.train.sentinel
        wanted = self.setting.evaluate_again and progress.sentinel.wants_second_opinion(progress.step, limits)
        if self.finished or not wanted:
            return None

        def again() -> list[DevResult]:
            with self.setting.early_end.phase_limit("dev evaluation"), whole(self.actor):
                return [evaluate(self.actor.policy) for evaluate in self.setting.evaluate_again]

        checkpoints, step = self.setting.storage.checkpoints, progress.best_step
        if self.setting.ranks.any(not is_whole(checkpoints, step)):
            progress.forget(step)
            return None  # there is nothing to compare with
        now, weights = again(), weights_of(checkpoints, step, "policy")
        with other_weights(self.actor, weights):
            best = again()
        return progress.sentinel.observe_second_opinion(progress.step, best, now, limits)

    def _sampled(self) -> Iterator[Samples]:
        if self.samples is not None:
            if self.setting.ranks.first:
                write_json(samples_file(self.setting.storage.checkpoints, self.samples.step), list(self.samples.rows))
            yield self.samples

    def _resumed(self) -> Resumed:
        step, checkpoints = self.progress.step, self.setting.storage.checkpoints
        points = [StepMetrics(at, values) for at, values in read_json(metrics_file(checkpoints, step))]
        samples = samples_file(checkpoints, step)
        known = forget_after(checkpoints, step) if self.setting.ranks.first else step
        return Resumed(points, Samples(step, read_json(samples)) if samples.exists() else None, known)

    def _load(self, check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any] | None:
        with self.setting.ranks.first_alone():  # it sets damaged checkpoints aside
            return load_latest(self.setting.storage.checkpoints, self.modules, check)

    def _commit(self) -> Committed:
        # Metrics before the checkpoint: a run killed in between repeats these steps and writes the same file again. The other
        # way round, the steps would count as done and their metrics would be lost.
        step, checkpoints = self.progress.step, self.setting.storage.checkpoints
        if not self.points:
            return Committed(step)
        points, self.points, ranks = self.points, [], self.setting.ranks
        state = self.progress.state(self.setting.storage.identity, self.environment)
        with self.setting.early_end.phase_limit("save"):
            for module, _ in self.modules.values():
                ranks.check_equal(module, digest_of(state))
            if ranks.first:
                write_json(metrics_file(checkpoints, step), [[at.step, dict(at.values)] for at in points])
            save_checkpoint(checkpoints, step, self.modules, state, ranks=ranks)
            if ranks.first:
                prune(
                    checkpoints, self.setting.train.keep_checkpoints, (self.progress.best_step, self.progress.best_trained_step)
                )
            ranks.barrier()
        return Committed(step)

    def _step(self) -> StepMetrics:
        train, step, figures = self.setting.train, self.progress.step, Means()
        phases = Phases(self.setting.early_end.phase_limit)
        self.budget.begin(step)  # numbers this step's calls, by which a rebuild looks them up
        with whole(self.actor), self.setting.task.rewarding():
            rollouts, values = roll_out_batch(self.actor.policy, self.setting, step, phases)
        with self._compiled():
            experience = self._experience(rollouts, phases)
            with phases("figures"):
                values |= rollout_figures(rollouts, self.setting.task.other_gold, self.setting.ranks)
                values |= experience_figures(experience)
                self.progress.note_accuracy(values.get("accuracy"))
                self.samples = Samples(step + 1, sample_rows(rollouts, experience, self.setting.storage.sample_rows))
            point(f"train:{step}:update")
            values["learning_rate"] = self._set_learning_rate(step)
            with phases("update"):
                stepped, skipped = self._update(step, rollouts, experience, figures)
        skipped += int(not torch.isfinite(experience.old_log_probs).all())
        if not self._critic_alone(step):
            self._adapt_kl(experience, len(rollouts.completions))  # after the update, which used the old coefficient
        self.progress.samples += int(values["num_samples"])
        self.progress.step += 1  # from here on the number of finished steps: metrics count from 1, draws from 0
        values |= {"skipped": float(skipped), "micro_tokens": float(self.budget.tokens), **figures.values()}
        self._stop(self.progress.sentinel.observe(step + 1, values, stepped, skipped, train.sentinel))
        values |= self.progress.sentinel.warnings() | (self.setting.memory.figures() if self.setting.memory else {})
        return StepMetrics(step + 1, values | phases.values(int(values["num_tokens"])))

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Within the block, the layers of models that score or learn are compiled on CUDA; the sampler's are not."""
        if self.setting.ranks.sharded:  # the hooks that gather a layer's weights are not compiled
            yield
            return
        others = [self.critic, self.reference.policy.model if self.reference else None]
        with ExitStack() as stack:
            for model in {self.actor.model, *(other for other in others if other is not None)}:
                stack.enter_context(compiled_layers(model))
            yield

    def _stop(self, stop: Stop | None) -> None:
        """End training for a reason, if there is one; the first reason is kept."""
        if self.progress.stop is None and stop is not None:
            self.progress.stop = stop
            if stop.reason == NONFINITE:
                self._load()  # the cause is not in the last good checkpoint

    def _experience(self, rollouts: Rollouts, phases: Phases) -> Experience:
        train, scored = self.setting.train, Scored()
        temperature, policy = train.sampling.temperature, self.actor.policy

        def matrix(function: Callable[[MicroBatch], Tensor]) -> Tensor:
            part = partial(token_matrix, rollouts, function, policy=policy, ranks=self.setting.ranks)
            found = self.budget.spend(lambda tokens: part(limit=tokens), rollouts.largest_group)
            self.setting.ranks.add_up([found])
            return found

        def reference_log_probs(batch: MicroBatch) -> Tensor:
            assert self.reference is not None
            return score_tokens(self.reference.policy.model, batch.rows, temperature, batch.nucleus)

        if self.reference is not None:
            of_the_actor = whole(self.actor) if self.actor.adapter is not None else nullcontext()
            with phases("reference"), of_the_actor, self.reference.together(), self.reference.scope():
                scored = Scored(reference_log_probs=matrix(reference_log_probs))
        # The weights change only after the forward pass of the one update, so that pass can score for the correction too;
        # a KL in the reward needs the scores before it.
        by_the_update = self.corrects and train.updates == 1 and train.kl != "reward"
        with phases("values"), whole(self.actor), whole(self.critic):
            scored = Scored(
                scored.reference_log_probs,
                matrix(lambda batch: self.actor(batch, temperature)[0]) if self.corrects and not by_the_update else None,
                by_the_update,
                matrix(self._values(rollouts)) if train.has_critic else None,
            )
        return build_experience(rollouts, scored, train, self.progress.kl_coefficient, self.setting.task.max_new_tokens)

    def _values(self, rollouts: Rollouts) -> Callable[[MicroBatch], Tensor]:
        """The critic's values of the rollouts' tokens, a micro-batch at a time."""
        critic = self.critic
        if critic is None:
            return lambda batch: self.actor.values(batch.rows)
        prefix = rollouts.prefix_log_probs.to(self.actor.policy.model.device)
        return lambda batch: critic(batch.rows, batch.take(prefix))

    def _update(self, step: int, rollouts: Rollouts, experience: Experience, figures: Means) -> tuple[int, int]:
        """Critic first, then the policy; returns optimiser steps taken and skipped.

        The order does not matter: values and advantages were computed before either changes.
        """
        train, seed, ranks = self.setting.train, self.setting.seed, self.setting.ranks
        data = UpdateBatch(rollouts, experience, train, self.setting.task.max_new_tokens, self.progress.kl_coefficient, ranks)
        # A pass (PPO's "epoch") is over this batch of rollouts; randomness.batch_indices has those over the dataset.
        orders = [stream(seed, "order", step, number).permutation(train.prompts).tolist() for number in range(train.epochs)]
        options = (orders, train.minibatches, train.max_grad_norm)
        run = partial(run_update, spend=partial(self.budget.spend, largest=rollouts.largest_group), ranks=ranks)
        reports = []
        if self.critic is not None:
            objective = ValueObjective(self.critic, self._values(rollouts), self.actor.policy, data)
            minibatches = train.critic.minibatches or train.minibatches
            own = (orders, minibatches, train.max_grad_norm)
            reports.append(run(objective, self.critic_optimizer, *own, prefix="critic/"))
        if not self._critic_alone(step):
            with self.actor.updating():
                reports.append(run(ActorObjective(self.actor, data), self.optimizer, *options))
        elif self.critic is None:
            objective = ValueObjective(self.actor, self._values(rollouts), self.actor.policy, data)
            reports.append(run(objective, self.optimizer, *options, prefix="critic/"))
        for report in reports:
            figures.update(report.figures)
        return sum(r.steps for r in reports), sum(r.skipped for r in reports)

    def _critic_alone(self, step: int) -> bool:
        """Whether the critic is warmed up in this step, while the policy stays as it is."""
        train = self.setting.train
        return train.has_critic and step < train.critic.warmup_steps

    def _adapt_kl(self, experience: Experience, samples: int) -> None:
        train = self.setting.train
        if train.kl_target is not None:
            divergence = completion_divergence(experience)
            if math.isfinite(divergence):
                coefficient = self.progress.kl_coefficient
                adapted = adapted_coefficient(coefficient, divergence, train.kl_target, samples, train.kl_horizon)
                self.progress.kl_coefficient = adapted

    def _set_learning_rate(self, step: int) -> float:
        """Linear decay from ``lr`` to 0, never below ``lr x lr_final``, after ``lr_warmup`` steps below ``lr``."""
        train = self.setting.train
        rate = learning_rate(step, train.steps, train.lr_warmup + 1, train.lr_final, train.lr)
        set_learning_rate(self.optimizer, rate)
        return rate
