"""Models in shards: each rank holds a part of every tensor, and gathers a layer's while it computes (FSDP2's ``fully_shard``).

The module that is sharded is the one whose forward pass scores packed rows: FSDP gathers what a *call of that module* needs. A
model's trunk and head, called one after the other from outside, would find shards.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, PackedRows, pack


class Scorer(nn.Module):
    """A model whose forward pass gives the log-probs of packed rows, as :func:`score_tokens` does."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: PackedRows) -> Tensor:
        return score_tokens(self.model, rows)


def one_token(device: torch.device) -> PackedRows:
    """The smallest rows there are: a completion of one token."""
    return pack([Group([0], [[0]])]).to(device)


def sharded_reference(policy: Policy) -> Reference:
    """A reference of which each rank holds a part."""
    scorer = Scorer(policy.model.requires_grad_(False))
    shard(scorer, policy.low_precision, lambda: scorer(one_token(policy.model.device)))
    return Reference(policy, together=partial(whole, scorer))


def shard(module: nn.Module, low_precision: bool, call: Callable[[], object]) -> None:
    """Shard each decoder layer of a module, and the rest of it as one; gradients are summed over the ranks, in fp32.

    Args:
        low_precision: gather the weights in bf16.
        call: a forward pass of the module.
    """
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if low_precision else MixedPrecisionPolicy()
    for layer in [m for m in module.modules() if isinstance(m, GradientCheckpointingLayer)]:
        fully_shard(layer, mp_policy=policy)
    fully_shard(module, mp_policy=policy)
    for part in parts_of(module):
        # The loss is divided by the tokens of the whole minibatch already; and gloo takes an average for a sum.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    with torch.no_grad():
        call()  # what is called first is the root: not the layer that a sampler reaches from outside
    for part in parts_of(module):
        part.reshard()  # a root keeps its weights whole after a forward pass: an optimiser would be given those


def parts_of(module: nn.Module | None) -> list[FSDPModule]:
    """What gathers its weights by itself; nothing, if the module is not sharded."""
    return [part for part in module.modules() if isinstance(part, FSDPModule)] if module is not None else []


@contextmanager
def whole(module: nn.Module | None) -> Iterator[None]:
    """Within the block, every rank holds all weights and may call the module, or what is in it, as often as it wants.

    Only without gradients. Nothing happens to a module that is not sharded.
    """
    parts = parts_of(module)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
    for handle in [part.unshard(async_op=True) for part in parts]:
        assert handle is not None
        handle.wait()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)


@contextmanager
def all_whole(modules: Sequence[nn.Module]) -> Iterator[None]:
    """:func:`whole` of several modules."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(whole(module))
        yield


def clipped_norm(parameters: Sequence[nn.Parameter], largest: float) -> float:
    """Clip the gradients to a norm of ``largest``; returns their norm over all shards."""
    norm = nn.utils.clip_grad_norm_(parameters, largest)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)  # waits for the device, as any check must
