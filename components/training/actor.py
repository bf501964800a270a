"""What the policy's optimiser trains: the whole model or its adapter, and the value head of a critic that shares its trunk."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ratchet.components.policy.adapters import Adapter, Reference, add_lora
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import hidden_states, score_hidden
from ratchet.components.policy.packing import PackedRows
from ratchet.components.policy.varlen_attention import recomputing
from ratchet.components.randomness import torch_seed
from ratchet.components.recipe import Train
from ratchet.components.training.critic import ValueHead
from ratchet.components.training.micro_batches import MicroBatch


class Actor(nn.Module):
    """The policy in training. It stays in evaluation mode, because dropout would make every importance ratio wrong."""

    def __init__(self, policy: Policy, train: Train, seed: int) -> None:
        """
        Raises:
            ModelError: if the recipe asks for LoRA and peft is not installed.
        """
        super().__init__()
        self.policy = policy
        self.adapter: Adapter | None = None
        if train.lora is not None:
            self.adapter = add_lora(policy, train.lora.rank, train.lora.alpha, torch_seed(seed, "lora"))
        self.model = policy.model.eval()
        shared = train.has_critic and train.critic.trunk == "shared"
        self.value_head = ValueHead(policy.model) if shared else None
        assert "auto" not in (train.gradient_checkpointing, train.offload), "train's auto values were not resolved"
        if train.gradient_checkpointing:
            offload = bool(train.offload) and self.model.device.type == "cuda"  # a CPU's are in host memory already
            again = {"use_reentrant": False, "context_fn": recomputing(self.model.base_model)}
            self.model.activation_checkpointing_enable(again, offload=offload)

    def forward(self, batch: MicroBatch, temperature: float) -> tuple[Tensor, Tensor | None]:
        """Log-probs [N] of the batch's completion tokens, and values [N] if the critic shares the trunk."""
        hidden = hidden_states(self.model.base_model, batch.rows)
        log_probs = score_hidden(self.model, hidden, batch.rows.targets, temperature, batch.nucleus)
        return log_probs, None if self.value_head is None else self.value_head(hidden)

    def values(self, rows: PackedRows) -> Tensor:
        """Values [N] of a critic that shares the trunk; only its head gets a gradient."""
        assert self.value_head is not None
        with torch.no_grad():
            hidden = hidden_states(self.model.base_model, rows)
        return cast(Tensor, self.value_head(hidden))

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Context of an update: layers recompute themselves in the backward pass only in training mode."""
        layers = [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)]
        for layer in layers:
            layer.training = True  # of the layer only; its dropout stays off
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False

    def reference(self) -> Reference | None:
        """The policy as it was before training, if the adapter provides it; otherwise a copy must be loaded."""
        return self.adapter.reference() if self.adapter is not None else None

    def merged(self) -> Policy:
        """The trained policy as one model. With LoRA this ends the training: the adapter is merged away."""
        return self.adapter.merge() if self.adapter is not None else self.policy
