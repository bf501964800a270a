"""A second set of modules around a model's weights, so that an engine's attention never touches the model in training."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from components.errors import ModelError


class Weights:
    """The weights that an engine reads: the model's own, or a copy in another precision at addresses that never change."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        """
        Args:
            dtype: of the copy of every weight of another floating-point type; None reads the model's own.
        """
        tensors = [*model.parameters(), *model.buffers()]
        converted = [t for t in model.parameters() if dtype is not None and t.is_floating_point() and t.dtype != dtype]
        self._originals = [t.detach() for t in converted]
        self._copies: list[Tensor] = [torch.empty_like(t, dtype=dtype) for t in self._originals]
        self._places = [t.data_ptr() for t in model.parameters()]
        parameters = [torch.nn.Parameter(copy, requires_grad=False) for copy in self._copies]
        self.shared = {id(t): t for t in tensors} | {id(t): p for t, p in zip(converted, parameters, strict=True)}
        self._kept = tensors  # an id is only its tensor's as long as that lives
        self.refresh()

    def refresh(self) -> None:
        """Bring the copy up to date with the model, in place: a captured graph reads these addresses."""
        if self._copies:
            torch._foreach_copy_(self._copies, self._originals)

    def serve(self, model: PreTrainedModel) -> bool:
        """Whether the model's weights still lie where they lay (a merged adapter's do not)."""
        return [t.data_ptr() for t in model.parameters()] == self._places


def twin_of(model: PreTrainedModel, shared: Mapping[int, Tensor], attention: str) -> PreTrainedModel:
    """Other modules of the same kind that read these weights and run a registered attention function.

    Args:
        shared: for each of the model's tensors, by id, the one that the twin reads.

    Raises:
        ModelError: if the model does not let its attention be chosen.
    """
    twin: PreTrainedModel = deepcopy(model, dict(shared))
    try:
        twin.set_attn_implementation(attention)
    except ValueError as error:
        raise ModelError(f"its attention cannot be chosen ({error}). The plain engine serves it.") from error
    if twin.config.get_text_config()._attn_implementation != attention:
        raise ModelError("its attention cannot be chosen. The plain engine serves it.")
    return twin
