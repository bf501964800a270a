"""The optimiser that ``train.optimizer`` names, and the bytes of its state."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ratchet.components.code.extras import require_optimizer
from ratchet.components.recipe.train import Optimizer

BETAS = (0.9, 0.98)  # AdamW's; a second moment over 50 steps, for runs of a few hundred
BLOCK, LEAST = (
    256,
    4096,
)  # torchao's: values that share a scale; a tensor with fewer values, or a part of a block, stays in fp32
FP32, TABLE = 4, 4 * 256  # bytes of a value, and of the values that the 256 codes stand for
WORKING = {True: 8, False: 53}  # B per value of the tensor at hand, compiled or not; measured on a CPU with torch 2.13


def build_optimizer(name: Optimizer, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """AdamW without weight decay.

    Raises:
        MissingExtraError: if its library is not installed.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, betas=BETAS, weight_decay=0.0, fused=True)
    require_optimizer(name)
    assert not any(isinstance(p, DTensor) for p in parameters), "blocks of a shard are not those of another number of ranks"
    from ratchet.components.training.adamw_8bit import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, lr=lr, betas=BETAS, weight_decay=0.0, block_size=BLOCK)
    return optimizer


def environment_of(name: Optimizer) -> dict[str, str]:
    """The library on which the bits of a step depend, besides torch."""
    return {} if name == "adamw" else {"torchao": version("torchao")}


def moment_bytes(name: Optimizer, parameters: int, matrices: Iterable[int]) -> int:
    """Bytes of both moments.

    Args:
        parameters: how many learn.
        matrices: the values of each tensor among them; what they leave over is in tensors too small to be quantised.
    """
    quantised = [values for values in matrices if values >= LEAST and values % BLOCK == 0 and name == "adamw_8bit"]
    whole = max(0, parameters - sum(quantised))
    return 2 * (FP32 * whole + sum(values + FP32 * values // BLOCK + TABLE for values in quantised))


def step_bytes(name: Optimizer, values: int, compiled: bool) -> int:
    """Bytes that a step needs for a while, for a tensor of so many values; fused AdamW works in place."""
    return WORKING[compiled] * values if name == "adamw_8bit" else 0
