"""What is compiled on CUDA, reproducibly from run to run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import nn
from torch._functorch import config as functorch
from transformers.modeling_layers import GradientCheckpointingLayer

Function = TypeVar("Function", bound=Callable[..., Any])
RECOMPUTED = True  # whether the backward pass recomputes what is cheap: 29 in place of 46 kB per token of a layer of width 896
VERSIONS = 64  # of one function; beyond that, dynamo would silently fall back to eager code


def compiled_on_cuda(function: Function) -> Function:
    """The function, compiled if its first argument is on CUDA.

    ``dynamic=True``: one kernel for every length, so that results do not depend on which lengths came first.
    """
    compiled = cache(lambda: torch.compile(function, dynamic=True))

    @wraps(function)
    def call(first: Any, *rest: Any) -> Any:
        return (compiled() if first.is_cuda else function)(first, *rest)

    return call  # type: ignore[return-value]


@contextmanager
def compiled_layers(trunk: nn.Module) -> Iterator[None]:
    """The decoder layers compiled one by one, each for every length; on a CPU nothing happens.

    Only within the block: decoding has its own optimisations.
    """
    layers = [m for m in trunk.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not _on_cuda(trunk):
        yield
        return
    torch._dynamo.config.recompile_limit = VERSIONS
    functorch.ban_recompute_used_far_apart = not RECOMPUTED
    functorch.ban_recompute_long_fusible_chains = not RECOMPUTED
    functorch.ban_recompute_materialized_backward = not RECOMPUTED
    for layer in layers:
        if not hasattr(layer, "_compiled_forward"):
            layer._compiled_forward = torch.compile(type(layer).forward.__get__(layer), dynamic=True)
        layer.forward = layer._compiled_forward
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _on_cuda(module: nn.Module) -> bool:
    return next(module.parameters()).is_cuda
