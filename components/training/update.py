"""The update: passes over a batch of rollouts (PPO's epochs), minibatches, finite checks and optimiser steps.

Actor and critic go through the same code.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import nn

from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.sharding import clipped_norm
from ratchet.components.training.meters import Means

Spend = Callable[[Callable[[int | None], Means | None]], Means | None]


class Objective(Protocol):
    """A loss over the prompts of a minibatch."""

    micro_tokens: int  # packed tokens per forward pass

    @property
    def module(self) -> nn.Module:
        """The module whose parameters are trained."""

    def backward(self, prompts: Sequence[int]) -> Means | None:
        """Add the gradient of a minibatch; returns its figures, or None if there was nothing to learn."""


class Report(NamedTuple):
    """The figures of an update, and the optimiser steps it took."""

    figures: Means
    steps: int
    skipped: int  # minibatches whose loss or gradient was not finite


def run_update(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    orders: Sequence[Sequence[int]],
    minibatches: int,
    max_grad_norm: float,
    prefix: str = "",
    spend: Spend = lambda call: call(None),
    ranks: Ranks = ONE,
) -> Report:
    """``minibatches`` optimiser steps in each pass.

    Args:
        orders: for each pass, the order of the prompts.
        max_grad_norm: gradients of a larger norm are scaled down to it.
        prefix: of ``grad_norm`` among the figures.
        spend: calls its argument with the tokens per forward pass, and again with fewer if memory runs out.
        ranks: their gradients and figures are added up before each step.
    """
    figures, steps, skipped = Means(), 0, 0
    for order in orders:
        for prompts in split(order, minibatches):
            found = spend(partial(_backward, objective, prompts))
            if found is None:
                continue
            ranks.add_up_gradients(parameters_of(objective.module))
            found.add_up(ranks)
            norm = optimiser_step(objective.module, optimizer, max_grad_norm, found)
            if norm is None:
                skipped += 1
                continue
            steps += 1
            figures.update(found)
            figures.add(f"{prefix}grad_norm", norm, 1.0)
    return Report(figures, steps, skipped)


def _backward(objective: Objective, prompts: Sequence[int], micro_tokens: int | None) -> Means | None:
    """The gradient of a minibatch only: what a call that ran out of memory left is dropped."""
    if micro_tokens is not None:
        objective.micro_tokens = micro_tokens
        objective.module.zero_grad()
    return objective.backward(prompts)


def optimiser_step(module: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float, figures: Means) -> float | None:
    """Clip and step; returns the gradient's norm, or None, without a step, if it or a figure is not finite."""
    norm = clipped_norm(parameters_of(module), max_norm)
    # A NaN can be clamped away before it reaches the gradient; the summed loss still shows it.
    finite = math.isfinite(norm) and all(math.isfinite(value) for value in figures.values().values())
    if finite:
        optimizer.step()
    optimizer.zero_grad()  # also after a skipped step, whose gradient is not finite
    return norm if finite else None


def parameters_of(module: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters, in a stable order."""
    return [p for p in module.parameters() if p.requires_grad]


def split(order: Sequence[int], parts: int) -> list[Sequence[int]]:
    """``parts`` slices of equal length; the recipe rejects a length that ``parts`` does not divide."""
    size = len(order) // parts
    return [order[i * size : (i + 1) * size] for i in range(parts)]
