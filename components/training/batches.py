"""Micro-batches: rollouts as packed rows, and where each of their tokens stands in the [S, T] matrices of the experience."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from components.policy.loading import Policy
from components.policy.log_probs import Nucleus
from components.policy.packing import Group, PackedRows, pack
from components.training.rollouts import Rollouts

ROW_TOKENS = 128


@dataclass(frozen=True)
class MicroBatch:
    """Packed rows of some groups, N completion tokens in all."""

    rows: PackedRows
    completion: Tensor  # [N] long, on the CPU: number of each token's completion, 0..S-1
    index: Tensor  # [N] long, on the CPU: its position there, 0..T-1
    nucleus: Nucleus | None

    def take(self, matrix: Tensor) -> Tensor:
        """The entries of an [S, T] matrix at this batch's tokens, [N], on its device."""
        return matrix[self.completion, self.index].to(self.rows.tokens.device)


def token_runs(groups: Sequence[Group], numbers: Sequence[int], limit: int) -> list[list[int]]:
    """Cut group numbers into runs of at most ``limit`` packed tokens (at least one group each)."""
    runs: list[list[int]] = []
    room = 0
    for number, group in zip(numbers, groups, strict=True):
        if not runs or group.tokens > room:
            runs.append([])
            room = limit
        runs[-1].append(number)
        room -= group.tokens
    return runs


def micro_batches(rollouts: Rollouts, kept: Sequence[int], limit: int, device: torch.device) -> list[MicroBatch]:
    """The groups numbered ``kept``, in micro-batches of at most ``limit`` packed tokens."""
    return [_micro_batch(rollouts, run, device) for run in token_runs(rollouts.token_groups(kept), kept, limit)]


def _micro_batch(rollouts: Rollouts, numbers: Sequence[int], device: torch.device) -> MicroBatch:
    packed, k = pack(rollouts.token_groups(numbers), ROW_TOKENS), rollouts.k
    completion = torch.tensor(numbers)[packed.sequence // k] * k + packed.sequence % k
    nucleus = _nucleus(rollouts, completion.tolist(), packed.index.tolist(), device)
    return MicroBatch(packed.to(device), completion, packed.index, nucleus)


def _nucleus(rollouts: Rollouts, completions: list[int], indices: list[int], device: torch.device) -> Nucleus | None:
    flat = rollouts.completions
    if flat[0].nucleus is None:
        return None
    kept = [(flat[c].nucleus or [])[i] for c, i in zip(completions, indices, strict=True)]
    token = [number for number, ids in enumerate(kept) for _ in ids]
    return Nucleus(torch.tensor(token, device=device), torch.tensor([i for ids in kept for i in ids], device=device))


def token_matrix(rollouts: Rollouts, function: Callable[[MicroBatch], Tensor], limit: int, policy: Policy) -> Tensor:
    """Evaluate a per-token function of all completions without gradient, as [S, T] on the CPU; 0 beyond their ends."""
    matrix = torch.zeros(rollouts.mask.shape)
    with torch.no_grad(), policy.autocast():
        for batch in micro_batches(rollouts, range(len(rollouts.groups)), limit, policy.model.device):
            matrix[batch.completion, batch.index] = function(batch).float().cpu()
    return matrix
