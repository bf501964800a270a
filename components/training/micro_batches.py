"""Micro-batches: rollouts as packed rows, and how many packed tokens a forward pass takes.

The cut of a batch into micro-batches decides the order of its sums, and so the last bits of every weight. Where memory ran
out, half as many tokens are taken from there on, and that is recorded: a rebuild is given where the cut changed, and does not
have to run out of memory in the same place.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from ratchet.components.errors import ModelError
from ratchet.components.launch.ranks import ONE, Ranks
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import Nucleus
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.transfer import moved
from ratchet.components.policy.varlen_attention import flat_rows
from ratchet.components.training.rollouts import Rollouts

Result = TypeVar("Result")

ROW_TOKENS = 128
FLAT_MULTIPLE = 64  # tokens of a flat row: few lengths, none of them odd


@dataclass(frozen=True)
class MicroBatch:
    """Packed rows of some groups, N completion tokens in all, on one device."""

    rows: PackedRows
    completion: Tensor  # [N] long: number of each token's completion, 0..S-1
    index: Tensor  # [N] long: its position there, 0..T-1
    nucleus: Nucleus | None
    padding: bool = False  # computed only because another rank has one more: it must not count

    def take(self, matrix: Tensor) -> Tensor:
        """The entries of an [S, T] matrix on the same device at this batch's tokens, [N]."""
        return matrix[self.completion, self.index]


def dealt(groups: Sequence[Group], numbers: Sequence[int], ranks: Ranks) -> list[int]:
    """The group numbers that are this rank's: a run of neighbours, so that the ranks have about as many packed tokens each."""
    if ranks.size == 1:
        return list(numbers)
    total, before, own = sum(group.tokens for group in groups), 0, []
    for number, group in zip(numbers, groups, strict=True):
        # By the middle of the group: the integers make every rank draw the same line.
        if (2 * before + group.tokens) * ranks.size // (2 * total) == ranks.rank:
            own.append(number)
        before += group.tokens
    return own


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
    rollouts: Rollouts, kept: Sequence[int], limit: int, device: torch.device, flat: bool = False, ranks: Ranks = ONE
) -> Iterator[MicroBatch]:
    """Of the groups numbered ``kept`` this rank's, in micro-batches of at most ``limit`` packed tokens.

    Where weights are sharded, all ranks get equally many: some are padding.

    Args:
        flat: as one row each instead of several with a mask, for models that attend to sequences
            (:func:`ratchet.components.policy.varlen_attention.serves`).
    """
    runs = own_runs(rollouts, kept, limit, ranks)
    for run in runs:
        yield _micro_batch(rollouts, run, device, flat)
    for _ in range(len(runs), most_runs(rollouts, kept, limit, ranks) if ranks.sharded else 0):
        smallest = min(kept, key=lambda i: rollouts.token_groups([i])[0].tokens)
        yield replace(_micro_batch(rollouts, [smallest], device, flat), padding=True)


def own_runs(rollouts: Rollouts, kept: Sequence[int], limit: int, ranks: Ranks) -> list[list[int]]:
    """The group numbers of each of a rank's micro-batches."""
    own = dealt(rollouts.token_groups(kept), kept, ranks)
    return token_runs(rollouts.token_groups(own), own, limit)


def most_runs(rollouts: Rollouts, kept: Sequence[int], limit: int, ranks: Ranks) -> int:
    """The most micro-batches that a rank has: every pass over sharded weights is one of all ranks together."""
    return max(len(own_runs(rollouts, kept, limit, replace(ranks, rank=rank))) for rank in range(ranks.size))


def _micro_batch(rollouts: Rollouts, numbers: Sequence[int], device: torch.device, flat: bool) -> MicroBatch:
    groups, k = rollouts.token_groups(numbers), rollouts.k
    packed = pack_flat(groups, FLAT_MULTIPLE) if flat else pack(groups, ROW_TOKENS)
    completion = torch.tensor(numbers)[packed.sequence // k] * k + packed.sequence % k
    nucleus = _nucleus(rollouts, completion, packed.index, device)
    rows = packed.to(device)
    return MicroBatch(rows, moved(completion, device), rows.index, nucleus)


def _nucleus(rollouts: Rollouts, completions: Tensor, indices: Tensor, device: torch.device) -> Nucleus | None:
    flat = rollouts.completions
    if flat[0].nucleus is None:
        return None
    kept = [(flat[c].nucleus or [])[i] for c, i in zip(completions.tolist(), indices.tolist(), strict=True)]
    token = [number for number, ids in enumerate(kept) for _ in ids]
    ids = torch.tensor([i for ids in kept for i in ids])
    return Nucleus(moved(torch.tensor(token), device), moved(ids, device))


def token_matrix(
    rollouts: Rollouts, function: Callable[[MicroBatch], Tensor], limit: int, policy: Policy, ranks: Ranks = ONE
) -> Tensor:
    """Evaluate a per-token function of all completions without gradient, as [S, T] on the CPU; 0 beyond their ends.

    Each rank evaluates its own groups; sharded weights are whole here, so that it needs no padding.
    """
    device, ranks = policy.model.device, replace(ranks, sharded=False)
    matrix = torch.zeros(rollouts.mask.shape, device=device)
    with torch.no_grad(), policy.autocast():
        for batch in micro_batches(rollouts, range(len(rollouts.groups)), limit, device, flat_rows(policy), ranks):
            matrix[batch.completion, batch.index] = function(batch).float()
    return matrix.cpu()  # the one wait for the device


@dataclass
class TokenBudget:
    """Packed tokens per forward pass, over a run. A *call* is a scoring pass or a minibatch, numbered from 1 in each step."""

    tokens: int
    given: Mapping[str, int] = field(default_factory=dict)  # "step.call": tokens from there on, of the run that is repeated
    smaller: dict[str, int] = field(default_factory=dict)  # the same of this run
    ranks: Ranks = ONE
    step: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        self.tokens = min([self.tokens, *self.smaller.values()])

    def begin(self, step: int) -> None:
        """Start a step: its calls are numbered from 1."""
        self.step, self.call = step, 0

    def spend(self, call: Callable[[int], Result], largest: int) -> Result:
        """The result of a call that is given the number of tokens; after running out of memory, again with half of them.

        All ranks take the same number: if one runs out of memory, each calls again.

        Args:
            largest: tokens of the largest group, which no micro-batch cuts.

        Raises:
            ModelError: if one group at a time is too much.
        """
        self.call += 1
        if self._here in self.given:
            self._set(self.given[self._here])
        while True:
            reason = ""
            try:
                result = call(self.tokens)
            except torch.OutOfMemoryError as error:
                reason = str(error).split(". ")[0]
            if reason and self.ranks.sharded:  # the others wait in the middle of a pass, and cannot begin again
                raise ModelError(
                    f"rank {self.ranks.rank} ran out of memory ({reason}). Lower train.micro_tokens (now {self.tokens}), "
                    "or set train.gradient_checkpointing."
                )
            if not self.ranks.any(bool(reason)):
                return result
            # Outside the handler, whose traceback would keep the call's tensors alive, so that the cache could not free them.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._halve(largest, reason or "on another rank")

    @property
    def _here(self) -> str:
        return f"{self.step}.{self.call}"

    def _set(self, tokens: int) -> None:
        self.tokens = self.smaller[self._here] = tokens

    def _halve(self, largest: int, reason: str) -> None:
        if self.tokens <= largest:
            raise ModelError(
                f"there is not enough memory to train on one group of {largest} tokens ({reason}). "
                "Set train.gradient_checkpointing, or lower train.k or policy.max_new_tokens."
            )
        self._set(max(1, self.tokens // 2))
        logging.getLogger(__name__).warning(
            "step %d: out of memory; train.micro_tokens is %d from here on", self.step + 1, self.tokens
        )
