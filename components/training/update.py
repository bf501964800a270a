"""The update: minibatches, micro-batches, finite checks, optimiser steps, for actor and critic alike.

The loss is a token mean over the whole minibatch, so it does not depend on how the minibatch is cut into micro-batches.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from components.algorithms.kl import k2
from components.algorithms.losses import clipped_policy_loss, clipped_value_loss
from components.policy.loading import Policy, autocast
from components.policy.log_probs import score_tokens
from components.policy.packing import Group, PackedRows, pack
from components.recipe import Train
from components.training.critic import Critic, parameters_of
from components.training.experience import Experience, Rollouts

ROW_TOKENS = 128


@dataclass
class Totals:
    """Sums over an update, for means at its end."""

    sums: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    steps: int = 0
    skipped: int = 0
    grad_norm: float = 0.0

    def add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(value.detach().sum())

    def means(self) -> dict[str, float]:
        return {name: total / max(1, self.tokens) for name, total in self.sums.items()}


def optimiser_step(module: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float, totals: Totals) -> bool:
    """Clip and step, unless loss or gradient is not finite; then nothing changes. Returns whether it stepped."""
    norm = float(torch.nn.utils.clip_grad_norm_(parameters_of(module), max_norm))
    # A NaN can be clamped away before it reaches the gradient; the summed loss still shows it.
    stepped = math.isfinite(norm) and all(math.isfinite(total) for total in totals.sums.values())
    if stepped:
        optimizer.step()
        totals.steps += 1
        totals.grad_norm += norm
    else:
        totals.skipped += 1
        totals.sums = {name: total for name, total in totals.sums.items() if math.isfinite(total)}
    optimizer.zero_grad()
    return stepped


def micro_batches(groups: Sequence[Group], numbers: Sequence[int], limit: int) -> list[list[int]]:
    """Cut group numbers into runs of at most ``limit`` packed tokens (at least one group each)."""
    batches: list[list[int]] = []
    room = 0
    for number, group in zip(numbers, groups, strict=True):
        if not batches or group.tokens > room:
            batches.append([])
            room = limit
        batches[-1].append(number)
        room -= group.tokens
    return batches


def packed_batches(
    rollouts: Rollouts, kept: Sequence[int], limit: int, device: torch.device
) -> list[tuple[PackedRows, Tensor]]:
    """Packed rows of each micro-batch, and the completion number (0..S-1) of each of its targets."""
    k = len(rollouts.completions[0])
    result = []
    for numbers in micro_batches(rollouts.groups(kept), kept, limit):
        packed = pack(rollouts.groups(numbers), ROW_TOKENS)
        first = torch.tensor(numbers)[packed.sequence // k] * k
        result.append((packed.to(device), first + packed.sequence % k))
    return result


def token_matrix(rollouts: Rollouts, function: Callable[[PackedRows], Tensor], limit: int, device: torch.device) -> Tensor:
    """Evaluate a per-token function of the completions without gradient, as [S, T] on the CPU."""
    _, mask = rollouts.padded()
    matrix = torch.zeros(mask.shape)
    with torch.no_grad(), autocast(device):
        for packed, sequence in packed_batches(rollouts, range(len(rollouts.prompts)), limit, device):
            matrix[sequence, packed.index.cpu()] = function(packed).float().cpu()
    return matrix


def update_policy(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rollouts: Rollouts,
    experience: Experience,
    settings: Train,
    orders: Sequence[Sequence[int]],
) -> Totals:
    """``settings.epochs`` passes of ``settings.minibatches`` steps.

    Args:
        orders: for each pass, the order of the P prompts.

    Groups without any advantage are left out of the forward pass: their gradient is zero. Their tokens still count in the
    normaliser, so leaving them out changes nothing but time.
    """
    device, totals = policy.model.device, Totals()
    k = len(rollouts.completions[0])
    by_group = experience.advantages.abs().sum(1).reshape(-1, k).sum(1)
    needed = (by_group != 0) | (settings.kl == "loss")  # NaN is needed too: it must be seen, not left out
    for order in orders:
        for kept in _split(order, settings.minibatches):
            tokens = int(experience.mask.reshape(-1, k, experience.mask.shape[1])[list(kept)].sum())
            active = [i for i in kept if needed[i]]
            totals.tokens += tokens
            if not active:
                continue
            for packed, sequence in packed_batches(rollouts, active, settings.micro_tokens, device):
                _policy_backward(policy, packed, sequence, experience, settings, tokens, totals)
            optimiser_step(policy.model, optimizer, settings.max_grad_norm, totals)
    return totals


def _policy_backward(
    policy: Policy,
    packed: PackedRows,
    sequence: Tensor,
    experience: Experience,
    settings: Train,
    tokens: int,
    totals: Totals,
) -> None:
    at = (sequence, packed.index.cpu())
    device = policy.model.device
    weight = experience.mask[at].to(device).float()
    with autocast(device):
        scores = score_tokens(policy.model, packed, settings.temperature)
    old = experience.old_log_probs[at].to(device)
    surrogate = clipped_policy_loss(scores.log_probs, old, experience.advantages[at].to(device), settings.clip)
    loss = surrogate.loss * weight
    if settings.kl == "loss":
        assert experience.reference_log_probs is not None
        loss = loss + settings.kl_coefficient * weight * k2(scores.log_probs, experience.reference_log_probs[at].to(device))
    (loss.sum() / max(1, tokens)).backward()  # type: ignore[no-untyped-call]
    totals.add("loss", loss)
    totals.add("entropy", scores.entropy * weight)
    totals.add("clip_ratio/region_mean", surrogate.clipped * weight)


def update_critic(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    rollouts: Rollouts,
    experience: Experience,
    settings: Train,
    orders: Sequence[Sequence[int]],
) -> Totals:
    """The critic's regression on the returns, with the same passes and minibatches as the policy."""
    assert experience.values is not None and experience.returns is not None
    device, totals = next(critic.parameters()).device, Totals()
    k = len(rollouts.completions[0])
    for order in orders:
        for kept in _split(order, settings.minibatches):
            tokens = int(experience.mask.reshape(-1, k, experience.mask.shape[1])[list(kept)].sum())
            totals.tokens += tokens
            for packed, sequence in packed_batches(rollouts, kept, settings.micro_tokens, device):
                at = (sequence, packed.index.cpu())
                with autocast(device):
                    values = critic(packed)
                old, returns = experience.values[at].to(device), experience.returns[at].to(device)
                loss = clipped_value_loss(values, old, returns, settings.value_clip)
                loss = loss * experience.mask[at].to(device).float()
                (loss.sum() / max(1, tokens)).backward()  # type: ignore[no-untyped-call]
                totals.add("value_loss", loss)
            optimiser_step(critic, optimizer, settings.max_grad_norm, totals)
    return totals


def _split(order: Sequence[int], parts: int) -> list[Sequence[int]]:
    size = len(order) // parts
    return [order[i * size : (i + 1) * size] for i in range(parts)]
