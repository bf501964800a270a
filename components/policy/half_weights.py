"""bf16 copies of the weights that matrix products read: one per weight, at one address, for the sampler and the trainer.

Autocast would cast each weight at every product, in the backward pass once more, and each gradient back. The copies contain
the same values, so that no bit of a result changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

Product = nn.Linear | Conv1D  # what autocast casts for each product; norms and embeddings stay as they are

_copies = WeakTensorKeyDictionary()  # of each weight that has one


def half_copy(weight: Tensor) -> nn.Parameter:
    """The copy of an fp32 weight; its values are those of the last time that somebody copied them.

    It adds its gradient to the weight's own, and does not keep it.
    """
    if weight not in _copies:
        with torch.inference_mode(False):  # a sampler may be the first to ask
            _copies[weight] = nn.Parameter(torch.empty_like(weight, dtype=torch.bfloat16))
        _copies[weight].register_post_accumulate_grad_hook(partial(_hand_over, ref(weight)))
    found: nn.Parameter = _copies[weight]
    return found


def _hand_over(to: ReferenceType[Tensor], copy: Tensor) -> None:
    weight = to()
    assert weight is not None
    assert copy.grad is not None
    if weight.grad is None:
        weight.grad = copy.grad.float()
    else:
        weight.grad.add_(copy.grad)
    copy.grad = None


@contextmanager
def half_products(module: nn.Module, wanted: bool) -> Iterator[None]:
    """The linear layers within decoder layers read up-to-date copies within, in forward and backward passes.

    Args:
        wanted: whether autocast would cast them; else nothing happens.
    """
    places = list(_places(module)) if wanted else []
    if not places:
        yield
        return
    weights = [weight for _, _, weight in places]
    copies = list(map(half_copy, weights))
    for weight, copy in zip(weights, copies, strict=True):
        copy.requires_grad_(weight.requires_grad)
    with torch.no_grad():
        torch._foreach_copy_(copies, weights)  # type: ignore[arg-type]
    try:
        for (owner, name, _), copy in zip(places, copies, strict=True):
            owner._parameters[name] = copy
        yield
    finally:
        for (owner, name, weight), copy in zip(places, copies, strict=True):
            owner._parameters[name] = weight
            copy.grad = None  # of a pass that ended in an error


def _places(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for layer in module.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            for owner in layer.modules():
                if isinstance(owner, Product):
                    for name, weight in owner.named_parameters(recurse=False):
                        if weight.dtype == torch.float32:
                            yield owner, name, weight
