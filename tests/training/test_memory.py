"""The memory formulas, against what autograd really saves."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from components.policy.loading import autocast
from components.policy.log_probs import hidden_states
from components.policy.packing import Group, PackedRows, pack
from components.policy.shape import shape_of_model
from components.training.memory import Load, activation_bytes

PROMPT, NEW, K, GROUPS = 32, 24, 4, 3
SIZES: dict[str, Any] = {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 288, "num_hidden_layers": 3}
MODELS = {
    "grouped": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_attention_heads=6, num_key_value_heads=2)),
    "plain": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=4)),
}


def saved_bytes(model: PreTrainedModel, rows: PackedRows, low: bool) -> int:
    """Distinct storages that the trunk's forward pass keeps for its backward, without weights and their bf16 copies."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {s for p in model.parameters() for s in (tuple(p.shape), tuple(p.shape)[::-1])}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(torch.device("cpu"), "bf16" if low else "fp32"):
        hidden_states(model.base_model, rows)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_autograd_saves(name: str, low: bool) -> None:
    model = MODELS[name]().eval()
    rows = pack([Group(range(2, 2 + PROMPT), [range(5, 5 + NEW)] * K) for _ in range(GROUPS)])
    assert rows.tokens.numel() == GROUPS * (PROMPT + K * NEW)  # no padding
    load = Load(GROUPS * K, K, PROMPT, NEW, micro_tokens=10**6, low=low)
    assert not load.flat
    assert activation_bytes(shape_of_model(model), load) == pytest.approx(saved_bytes(model, rows, low), rel=0.05)
