"""The ranks of a training: processes that run the same loop on the same data, each doing a part of the work.

Prompts, rewards, scores and gradients are dealt out; what each rank made is given to all, so that every rank knows the whole
batch and takes the same decisions. One process is the case of a single rank, in which nothing is sent.

What ranks send each other is bytes and tensors, never pickled objects.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ratchet.components.errors import RanksDifferError

Item = TypeVar("Item")
BUCKET = 2**26  # values added up at once: 256 MiB in fp32
FINGERPRINTED = 2**23  # bytes at once, which take 17 times that


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of a training. Every method that sends must be called on all ranks in the same order."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # each holds a part of every weight

    @property
    def first(self) -> bool:
        """Whether this rank writes what only one may write."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This rank's part of ``count`` things: a run of neighbours; parts differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def barrier(self) -> None:
        """Wait for the other ranks."""
        if self.size > 1:
            self.exchange(b"")

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The block runs on the first rank, then on the others together."""
        if not self.first:
            self.barrier()
        yield
        if self.first:
            self.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag if self.size == 1 else b"1" in self.exchange(b"1" if flag else b"0")

    def exchange(self, payload: bytes) -> list[bytes]:
        """What each rank gave, in order of rank."""
        if self.size == 1:
            return [payload]
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(payload)]))
        longest = max(int(length) for length in lengths)
        if not longest:
            return [b""] * self.size
        own = torch.zeros(longest, dtype=torch.uint8)
        own[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else own[:0]
        found = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(found, own)
        return [tensor[: int(length)].numpy().tobytes() for tensor, length in zip(found, lengths, strict=True)]

    def dealt(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Any]]) -> list[Any]:
        """What ``work`` makes of the items, as JSON, in their order; each rank gives it only its own part."""
        if self.size == 1:
            return list(work(items))
        own = items[self.part(len(items))]
        made = json.dumps(list(work(own)) if own else []).encode()
        return [value for part in self.exchange(made) for value in json.loads(part)]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks.

        For two ranks the sum is the same, to the bit, as that of one process that adds the second part to the first.
        """
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat, dist.ReduceOp.SUM)  # not AVG, which gloo takes for a sum (pytorch #162338)
            for tensor, total in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the ranks; one that no rank has stays absent.

        The backward pass of sharded weights has added them up already.
        """
        if self.size == 1 or self.sharded:
            return
        have = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        dist.all_reduce(have)
        wanted = [parameter for parameter, count in zip(parameters, have.tolist(), strict=True) if count]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.add_up([parameter.grad for parameter in wanted if parameter.grad is not None])

    def check_equal(self, module: nn.Module, state: str) -> None:
        """
        Args:
            module: each rank's copy; shards are not compared.
            state: a digest of what else must be equal.

        Raises:
            RanksDifferError: if a parameter, or the state, is not the same on all ranks.
        """
        if self.size == 1:
            return
        copies = {} if self.sharded else dict(module.named_parameters())
        own = {name: fingerprint(parameter) for name, parameter in copies.items()} | {"the run's progress": state}
        first, *others = (json.loads(found) for found in self.exchange(json.dumps(own).encode()))
        wrong = sorted({name for other in others for name in first.keys() | other.keys() if first.get(name) != other.get(name)})
        if wrong:
            raise RanksDifferError(
                f"{len(wrong)} of {len(first)} values differ between the ranks, the first is {wrong[0]}. "
                "A rank computes otherwise than the rest: check its memory and device, then run the same command to resume."
            )


ONE = Ranks()


def fingerprint(tensor: Tensor) -> int:
    """A sum of the tensor's bytes, each times an odd number of its place, modulo 2^64; computed on its device.

    A change of one byte always changes it. (``torch.hash_tensor`` takes the exclusive or: values that occur twice vanish.)
    """
    total = 0
    for part in torch.split(tensor.detach().contiguous().view(-1).view(torch.uint8), FINGERPRINTED):
        places = torch.arange(1, 2 * len(part), 2, device=part.device)
        total = (total * 3 + int((part * places).sum())) % 2**64
    return total


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type that are added up at once."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() for other in bucket) + tensor.numel() > BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype or tensor.device != bucket[0].device):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


@contextmanager
def joined(limit: timedelta) -> Iterator[Ranks]:
    """This process among the ranks that its environment names (torchrun's ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ...).

    On CUDA each rank takes the device of its number on its machine.

    Args:
        limit: the time after which a rank stops waiting for another, with an error.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ONE
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Bytes go by the CPU, whatever the models are on.
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=limit)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
