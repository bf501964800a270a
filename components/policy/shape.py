"""What a causal language model's memory depends on, read from its configuration alone: no weight is loaded."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel


@dataclass(frozen=True)
class ModelShape:
    """A dense decoder."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int  # of one attention head
    vocabulary: int
    parameters: int  # tied ones once
    head_parameters: int  # of the language-model head, where it is not tied to the embeddings; else 0

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_width

    @property
    def key_value(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_width

    @property
    def trunk_parameters(self) -> int:
        """Those of the model without its head: what a critic's trunk copies."""
        return self.parameters - self.head_parameters


def shape_of(config: Any) -> ModelShape:
    """The shape of a configuration; parameters are counted on a model without storage.

    Raises:
        ValueError: if transformers has no causal language model of this configuration.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return shape_of_model(model)


def shape_of_model(model: PreTrainedModel) -> ModelShape:
    """The shape of a model that is there."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    return ModelShape(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
        parameters=sum(p.numel() for p in model.parameters()),
        head_parameters=0 if tied else model.get_output_embeddings().weight.numel(),
    )
