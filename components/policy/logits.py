"""How logits become a distribution, and how many are made at a time."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

CPU_TILE, CUDA_TILE = 2**24, 2**28  # logits: 64 MiB in fp32, 512 MiB in bf16


class LogitTransform(NamedTuple):
    """How logits become a distribution."""

    temperature: float = 1.0
    cap: float | None = None  # tanh(logits / cap) * cap comes first
    tile: int = CPU_TILE


def shaped(logits: Tensor, shape: LogitTransform, outside: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Logits in fp32 after cap, temperature and nucleus; and the cap's tanh, where there is a cap."""
    logits, bent = logits.float(), None
    if shape.cap is not None:
        bent = torch.tanh(logits / shape.cap)
        logits = bent * shape.cap
    if shape.temperature != 1.0:
        logits = logits / shape.temperature
    return (logits if outside is None else logits.masked_fill(outside, -torch.inf)), bent


def tiles(tokens: int, vocabulary: int, limit: int) -> list[slice]:
    """Runs of nearly equal length, so that none is a remainder too small for its matrix product."""
    if tokens == 0:
        return []
    count = -(-tokens // max(1, limit // vocabulary))
    size = -(-tokens // count)
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def as_multiplied(*tensors: Tensor | None) -> list[Any]:
    """The tensors in the type in which autocast multiplies them, or as they are without it."""
    device = next(tensor.device.type for tensor in tensors if tensor is not None)
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [tensor if tensor is None else tensor.to(dtype) for tensor in tensors]
