"""The losses of actor and critic over a minibatch, added up in micro-batches. The KL enters the loss here.

A loss is sum(weight x per-token loss) with weights of the whole minibatch, so it does not depend on how that is cut into
micro-batches. Column t of an [S, T] matrix and entry n of an [N] vector are of the same token: nothing is shifted here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ratchet.components.algorithms.kl import k2, k3, weighted_k3
from ratchet.components.algorithms.losses import (
    PolicyLoss,
    cispo_loss,
    clipped_policy_loss,
    clipped_value_loss,
    sequence_log_ratio,
    token_weights,
    truncated_importance_weights,
)
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.half_weights import half_products
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.varlen_attention import flat_rows
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.experience import Experience
from ratchet.components.training.meters import Means
from ratchet.components.training.micro_batches import MicroBatch, micro_batches
from ratchet.components.training.rollouts import Rollouts

MISMATCH = ("mismatch/log_prob_mean_abs", "mismatch/kl")
CORRECTION = "sampling/importance_sampling_ratio/mean"
CLIP_RATIOS = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")


@dataclass(frozen=True)
class UpdateBatch:
    """One step's rollouts and experience, from which its minibatches are taken."""

    rollouts: Rollouts
    experience: Experience
    train: Train
    max_tokens: int
    kl_coefficient: float
    ranks: Ranks = ONE  # each takes its part of a minibatch; weights and counts are those of the whole

    def mask_of(self, prompts: Sequence[int]) -> Tensor:
        """The mask of these prompts' completions alone, [S, T]."""
        chosen = torch.zeros(len(self.rollouts.groups), dtype=torch.bool)
        chosen[list(prompts)] = True
        return self.experience.mask & chosen.repeat_interleave(self.rollouts.k)[:, None]

    def weights(self, prompts: Sequence[int], normaliser: str) -> Tensor:
        """Each token's weight in a minibatch of these prompts, [S, T]."""
        return token_weights(self.mask_of(prompts), normaliser, self.max_tokens)


class ActorObjective:
    """The policy's loss, plus the value loss if the critic shares the trunk."""

    def __init__(self, actor: Actor, data: UpdateBatch) -> None:
        self.module, self.data = actor, data
        self.micro_tokens = data.train.tokens_at_once
        experience = data.experience
        self.experience = experience.to(actor.policy.model.device)
        by_group = experience.advantages.abs().sum(1).reshape(-1, data.rollouts.k).sum(1)
        # Without advantage a group has no gradient, and is left out of the forward pass; its tokens still count in the
        # normaliser. NaN is not left out: it must be seen.
        taught = data.train.kl == "loss" or actor.value_head is not None
        self.needed = ((by_group != 0) | taught).tolist()
        self.sampled = data.rollouts.log_probs.to(self.experience.mask.device)
        self.first: Sequence[int] | None = None  # the minibatch before whose step the weights are those that sampled

    def backward(self, prompts: Sequence[int]) -> Means | None:
        """Add the gradient of a minibatch; returns its figures, or None if there was nothing to learn."""
        train, figures = self.data.train, Means()
        active = [i for i in prompts if self.needed[i]]
        counted = int(self.data.mask_of(active).sum())
        if not counted:
            return None
        policy = self.module.policy
        device = policy.model.device
        weights = self.data.weights(prompts, train.loss.normaliser).to(device)
        value_weights = self.data.weights(prompts, "token_mean").to(device)
        if self.first is None:
            self.first = prompts  # this very list: it is given again if memory runs out, on this rank or another
        flat, ranks = flat_rows(policy), self.data.ranks
        with half_products(self.module, policy.low_precision and not ranks.sharded):
            for batch in micro_batches(self.data.rollouts, active, self.micro_tokens, device, flat, ranks):
                noted = Means() if batch.padding else figures
                loss = self._loss(batch, weights, value_weights, noted, sampler=self.first is prompts)
                (loss * 0.0 if batch.padding else loss).backward()  # type: ignore[no-untyped-call]
                noted.add("loss", loss, 0.0)  # sums stay on the device: no wait per micro-batch
        if self.first is prompts:
            figures.count(dict.fromkeys(MISMATCH, float(counted)))
        figures.count({"loss": 1.0, "approx_kl": float(counted)})
        if self.experience.corrected_by_the_update:
            figures.count({CORRECTION: float(counted)})
        figures.count({} if self.module.value_head is None else {"value_loss": 1.0})
        figures.count(dict.fromkeys(CLIP_RATIOS, float(self.data.mask_of(prompts).sum())))
        return figures

    def _loss(self, batch: MicroBatch, weights: Tensor, value_weights: Tensor, figures: Means, sampler: bool) -> Tensor:
        """A micro-batch's part of the minibatch's loss.

        Args:
            sampler: whether to note how far the sampler is.
        """
        train = self.data.train
        with self.module.policy.autocast():
            log_probs, values = self.module(batch, train.sampling.temperature)
        if sampler:
            self._note_mismatch(batch, log_probs.detach(), figures)
        loss = (self._policy_loss(batch, log_probs, figures) * batch.take(weights)).sum()
        if values is None:
            return loss
        value_loss = _value_loss(values, batch, self.experience, train)
        value_loss = (value_loss * batch.take(value_weights)).sum()
        figures.add("value_loss", value_loss, 0.0)
        return loss + train.critic.coefficient * value_loss

    def _note_mismatch(self, batch: MicroBatch, log_probs: Tensor, figures: Means) -> None:
        """How far the sampler is from the trainer under the weights that sampled: over the first minibatch's own tokens."""
        own, sampled = batch.take(self.experience.mask), batch.take(self.sampled)
        for name, value in zip(MISMATCH, ((sampled - log_probs).abs(), k3(sampled, log_probs)), strict=True):
            figures.add(name, torch.where(own, value, 0.0).sum(), 0.0)

    def _policy_loss(self, batch: MicroBatch, log_probs: Tensor, figures: Means) -> Tensor:
        """Per-token loss [N] before the normaliser."""
        train, experience = self.data.train, self.experience
        own, advantages = batch.take(experience.mask), batch.take(experience.advantages)
        old, correction = self._old(batch, log_probs, own, figures)
        log_ratio = torch.where(own, log_probs - old, 0.0)
        surrogate = policy_surrogate(log_probs, log_ratio, advantages, own, batch.rows.sequence, train)
        loss = surrogate.loss
        if correction is not None:
            loss = loss * correction
        if train.kl == "loss":
            assert experience.reference_log_probs is not None
            reference = batch.take(experience.reference_log_probs)
            # k3 takes the token's ratio even where the surrogate takes the sequence's; the sampler's correction stays out.
            kl = k2(log_probs, reference) if train.kl_estimator == "k2" else weighted_k3(log_probs, old, reference)
            loss = loss + self.data.kl_coefficient * kl
        low, high = surrogate.clipped_low & own, surrogate.clipped_high & own
        for name, hit in zip(CLIP_RATIOS, (low, high, low | high), strict=True):
            figures.add(name, hit.sum(), 0.0)  # over all tokens of the minibatch, zero-variance groups' too
        figures.add("approx_kl", -log_ratio.sum(), 0.0)
        return loss

    def _old(self, batch: MicroBatch, log_probs: Tensor, own: Tensor, figures: Means) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the policy that sampled, [N], and the correction for the sampler.

        Before the only optimiser step the policy is unchanged: its own forward pass gives both.
        """
        old = batch.take(self.experience.old_log_probs)
        if not self.experience.corrected_by_the_update:
            return old, None if self.experience.correction is None else batch.take(self.experience.correction)
        now = log_probs.detach()
        correction = truncated_importance_weights(now, old, self.data.train.loss.correction_cap)
        figures.add(CORRECTION, torch.where(own, correction, 0.0), 0.0)
        return now, correction


def policy_surrogate(
    log_probs: Tensor, log_ratio: Tensor, advantages: Tensor, own: Tensor, sequence: Tensor, train: Train
) -> PolicyLoss:
    """The recipe's surrogate on N tokens: its ratio's level, its clip."""
    loss = train.loss
    if loss.ratio != "token":
        log_ratio = sequence_log_ratio(log_ratio, own, sequence, mean=loss.ratio == "sequence")
    if loss.surrogate == "cispo":
        return cispo_loss(log_probs, log_ratio, advantages, loss.clip_low, loss.clip_high)
    return clipped_policy_loss(log_ratio, advantages, loss.clip_low, loss.clip_high, loss.dual_clip)


class ValueObjective:
    """Only the regression of values on returns: for a separate critic, or a shared one's head during warm-up."""

    def __init__(self, module: nn.Module, values: Callable[[MicroBatch], Tensor], policy: Policy, data: UpdateBatch) -> None:
        """
        Args:
            module: the trained module; ``values`` returns its values of the states before each completion token, [N].
        """
        self.module, self.values, self.policy, self.data = module, values, policy, data
        self.micro_tokens = data.train.tokens_at_once
        self.experience = data.experience.to(policy.model.device)

    def backward(self, prompts: Sequence[int]) -> Means | None:
        """Add the gradient of a minibatch; returns its figures, or None if there was nothing to learn."""
        train, figures = self.data.train, Means()
        if not self.data.mask_of(prompts).any():
            return None
        device = self.policy.model.device
        weights = self.data.weights(prompts, "token_mean").to(device)
        flat, ranks = flat_rows(self.policy), self.data.ranks
        with half_products(self.module, self.policy.low_precision and not ranks.sharded):
            for batch in micro_batches(self.data.rollouts, prompts, self.micro_tokens, device, flat, ranks):
                with self.policy.autocast():
                    values = self.values(batch)
                loss = (_value_loss(values, batch, self.experience, train) * batch.take(weights)).sum()
                (loss * 0.0 if batch.padding else loss).backward()  # type: ignore[no-untyped-call]
                if not batch.padding:
                    figures.add("value_loss", loss, 0.0)
        figures.count({"value_loss": 1.0})
        return figures


def _value_loss(values: Tensor, batch: MicroBatch, experience: Experience, train: Train) -> Tensor:
    assert experience.values is not None
    assert experience.returns is not None
    old, returns = batch.take(experience.values), batch.take(experience.returns)
    return clipped_value_loss(values, old, returns, train.critic.value_clip)
