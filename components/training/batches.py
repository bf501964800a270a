"""Micro-batches: rollouts as packed rows, and where each of their tokens stands in the [S, T] matrices of the experience."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ratchet.components.policy.head import Nucleus
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.sequences import flat_rows
from ratchet.components.training.rollouts import Rollouts

ROW_TOKENS = 128
FLAT_MULTIPLE = 64  # tokens of a flat row: few lengths, none of them odd


@dataclass(frozen=True)
class MicroBatch:
    """Packed rows of some groups, N completion tokens in all, on one device."""

    rows: PackedRows
    completion: Tensor  # [N] long: number of each token's completion, 0..S-1
    index: Tensor  # [N] long: its position there, 0..T-1
    nucleus: Nucleus | None

    def take(self, matrix: Tensor) -> Tensor:
        """The entries of an [S, T] matrix on the same device at this batch's tokens, [N]."""
        return matrix[self.completion, self.index]


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


def micro_batches(
    rollouts: Rollouts, kept: Sequence[int], limit: int, device: torch.device, flat: bool = False
) -> Iterator[MicroBatch]:
    """The groups numbered ``kept``, in micro-batches of at most ``limit`` packed tokens.

    Args:
        flat: as one row each, for models that :func:`serves` says attend to sequences, instead of several with a mask.
    """
    for run in token_runs(rollouts.token_groups(kept), kept, limit):
        yield _micro_batch(rollouts, run, device, flat)


def _micro_batch(rollouts: Rollouts, numbers: Sequence[int], device: torch.device, flat: bool) -> MicroBatch:
    groups, k = rollouts.token_groups(numbers), rollouts.k
    packed = pack_flat(groups, FLAT_MULTIPLE) if flat else pack(groups, ROW_TOKENS)
    completion = torch.tensor(numbers)[packed.sequence // k] * k + packed.sequence % k
    nucleus = _nucleus(rollouts, completion, packed.index, device)
    rows = packed.to(device)
    return MicroBatch(rows, completion.to(device), rows.index, nucleus)


def _nucleus(rollouts: Rollouts, completions: Tensor, indices: Tensor, device: torch.device) -> Nucleus | None:
    flat = rollouts.completions
    if flat[0].nucleus is None:
        return None
    kept = [(flat[c].nucleus or [])[i] for c, i in zip(completions.tolist(), indices.tolist(), strict=True)]
    token = [number for number, ids in enumerate(kept) for _ in ids]
    return Nucleus(torch.tensor(token, device=device), torch.tensor([i for ids in kept for i in ids], device=device))


def token_matrix(rollouts: Rollouts, function: Callable[[MicroBatch], Tensor], limit: int, policy: Policy) -> Tensor:
    """Evaluate a per-token function of all completions without gradient, as [S, T] on the CPU; 0 beyond their ends."""
    device = policy.model.device
    matrix = torch.zeros(rollouts.mask.shape, device=device)
    with torch.no_grad(), policy.autocast():
        for batch in micro_batches(rollouts, range(len(rollouts.groups)), limit, device, flat_rows(policy)):
            matrix[batch.completion, batch.index] = function(batch).float()
    return matrix.cpu()
