"""Duplicate modules around a model's weights, so that an engine's attention does not affect the model in training."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ratchet.components.errors import ModelError
from ratchet.components.policy.half_weights import Product, half_copy


class SharedWeights:
    """Clones of a model that read its weights; matrix products read a copy at fixed addresses.

    Autocast would cast the same weights at every step. The copy contains the same values, so a clone computes what the model
    does, residual stream in fp32 included.
    """

    def __init__(self, model: PreTrainedModel, half: bool) -> None:
        """
        Args:
            half: whether there is a bf16 copy; else all weights are the model's own.
        """
        products = [m for m in model.modules() if isinstance(m, Product)] if half else []
        originals = {id(p): p for m in products for p in m.parameters(recurse=False) if p.dtype == torch.float32}
        self._originals = [p.detach() for p in originals.values()]
        self._copies: list[Tensor] = [half_copy(p).detach() for p in originals.values()]
        copies = (nn.Parameter(copy, requires_grad=False) for copy in self._copies)
        self._copy_of = dict(zip(originals, copies, strict=True))
        self._tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
        self._places = [p.data_ptr() for p in model.parameters()]
        self.refresh()

    def refresh(self) -> None:
        """Update the copy from the model, in place: a captured graph reads these addresses."""
        if self._copies:
            torch._foreach_copy_(self._copies, self._originals)

    def belong_to(self, model: PreTrainedModel) -> bool:
        """Whether the model's weights are still at the same addresses (a merged adapter's are not)."""
        return [p.data_ptr() for p in model.parameters()] == self._places

    def clone(self, model: PreTrainedModel, attention: str) -> PreTrainedModel:
        """Other modules of the same kind that read these weights and run a registered attention function.

        Raises:
            ModelError: if the model does not let its attention be chosen.
        """
        clone: PreTrainedModel = deepcopy(model, dict(self._tensors))
        for module in clone.modules():
            if isinstance(module, Product):  # a head tied to an embedding has a copy, the embedding has none
                for name, parameter in module.named_parameters(recurse=False):
                    module._parameters[name] = self._copy_of.get(id(parameter), parameter)
        try:
            clone.set_attn_implementation(attention)
        except ValueError as error:
            raise ModelError(f"its attention cannot be chosen ({error}). The plain engine serves it.") from error
        if clone.config.get_text_config()._attn_implementation != attention:
            raise ModelError("its attention cannot be chosen. The plain engine serves it.")
        return clone
