"""A model's configuration and shape, read without its weights or a downloaded model.

The shape is what a causal language model's memory depends on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ratchet.components.errors import ModelError, RecipeError

Fields = Mapping[str, bool | int | float | str]


def configuration_of(model: str, revision: str | None, stated: Fields | None) -> Any:
    """The configuration of a model directory or hub id, else the fields that the recipe states.

    Raises:
        RecipeError: if it is unknown.
    """
    if Path(model).is_dir():
        return read_configuration(Path(model))
    if stated is not None:
        return stated_configuration(dict(stated), "policy.shape")
    try:
        return AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"the shape of {model} is unknown: it is not downloaded and cannot be reached. Pass --config with its "
            "config.json, or set its fields in policy.shape."
        ) from error


def read_configuration(path: Path) -> Any:
    """The configuration in a ``config.json``, or in a directory that has one.

    Raises:
        RecipeError: if it cannot be read.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read {file}: {error}. Give the config.json of a model.") from error
    return stated_configuration(fields, str(file))


def check_stated(configuration: Any, stated: Fields | None) -> None:
    """Reject a model whose configuration differs from the recipe's shape.

    Raises:
        ModelError: naming the field.
    """
    config = configuration.to_dict()
    for name, value in (stated or {}).items():
        if config.get(name) != value:
            raise ModelError(
                f"policy.shape says {name}: {value}, but the model's config.json says {config.get(name)}. "
                "Correct policy.shape, or check policy.model."
            )


def stated_configuration(fields: Any, source: str) -> Any:
    """The configuration with these fields of a config.json.

    Raises:
        RecipeError: naming ``source``, if transformers does not know it or it asks for remote code.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
        raise RecipeError(f"{source} has no model_type. Set the fields of a model's config.json.")
    if "auto_map" in fields:
        raise RecipeError(f"{source} asks for remote code (auto_map), which is refused. Use a built-in model.")
    known = {name: value for name, value in fields.items() if name not in ("model_type", "transformers_version")}
    try:
        return AutoConfig.for_model(fields["model_type"], **known)
    except (TypeError, ValueError) as error:
        first = str(error).splitlines()[0][:200]
        raise RecipeError(f"{source} is not a configuration that transformers knows: {first}. Correct it.") from error


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a dense decoder."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int  # of one attention head
    vocabulary: int
    parameters: int  # tied ones once
    head_parameters: int  # of the language-model head, if it is not tied to the embeddings; else 0

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
    """The shape of a loaded model."""
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
