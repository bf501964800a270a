"""The section ``policy``: the model that training starts from."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from ratchet.components.recipe.base import Count, Positive, Section
from ratchet.components.recipe.train import Lora

SHAPE = {"layers", "width", "heads", "vocabulary", "context"}  # of the tiny policy


class Warmup(Section):
    """Supervised fine-tuning of the embedded tiny policy."""

    layers: Count = 4  # layers of the tiny policy
    width: Count = 128  # width of its hidden states
    heads: Count = 4  # heads of its attention
    vocabulary: Annotated[int, Field(ge=300)] = 768  # tokens of its tokenizer
    context: Count = 256  # tokens of prompt and completion together
    steps: Count = 700  # optimiser steps
    batch: Count = 64  # demonstrations per step
    lr: Positive = 2e-3  # peak learning rate
    until: Annotated[float, Field(gt=0, lt=1)] | None = None  # ends it earlier: at this probability of the demonstrations

    @model_serializer(mode="wrap")
    def _older_digests_stay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """``until`` is left out while it is off, so that recipes without it are the same as before there was one."""
        values: dict[str, Any] = handler(self)
        if self.until is None:
            values.pop("until", None)  # a dump of some keys may not have it
        return values

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Warmup":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice heads {self.heads}; change one of them")
        return self


class ModelWarmup(Section):
    """Supervised fine-tuning (SFT) of an existing model on the demonstrations, before the RL loop."""

    steps: Count = 200  # optimiser steps
    batch: Count = 16  # demonstrations per step
    lr: Positive = 1e-5  # peak learning rate; with lora about ten times as much
    lr_warmup: Annotated[int, Field(ge=0)] = 10  # steps in which the learning rate rises linearly; the last has lr
    max_tokens: Count = 1024  # tokens of a prompt with its demonstration; longer rows are left out, and counted
    micro_tokens: Count = 8_192  # packed tokens per forward pass
    max_grad_norm: Positive = 1.0  # gradients are scaled down to this norm
    lora: Lora | None = None  # trains an adapter, which is merged into the model at the end


OF_MODEL = set(ModelWarmup.model_fields) - set(Warmup.model_fields)
OF_TINY = set(Warmup.model_fields) - set(ModelWarmup.model_fields)


def _whose(warmup: Any) -> str:
    """Whose warm-up it is by its keys; those that both have are decided by whether there is a model."""
    return "model" if isinstance(warmup, ModelWarmup) or (isinstance(warmup, dict) and OF_MODEL & set(warmup)) else "tiny"


AnyWarmup = Annotated[Annotated[Warmup, Tag("tiny")] | Annotated[ModelWarmup, Tag("model")], Discriminator(_whose)]


def _of_model(warmup: Warmup) -> ModelWarmup | None:
    """The fine-tuning of a model by keys that the tiny policy's warm-up has too; None for one of the tiny policy as a whole."""
    given = warmup.model_fields_set
    if given >= SHAPE:  # of a recipe whose tiny policy the model replaces
        return None
    if given & OF_TINY:
        keys = ", ".join(sorted(given & OF_TINY))
        raise ValueError(
            f"policy.warmup has {keys} of the tiny policy, which policy.model replaces; remove them to fine-tune the model, or "
            "write policy.warmup=null to take it as it is"
        )
    return ModelWarmup.model_validate({name: getattr(warmup, name) for name in given})


class Policy(Section):
    """The starting policy: the warmed-up tiny one, or an existing model."""

    start: Literal["base", "champion"] = "base"  # base: the model below; champion: the model in production
    model: str | None = None  # a directory or hub id; used unchanged unless there is a warmup for it
    revision: str | None = None  # commit of a hub id
    shape: dict[str, bool | int | float | str] | None = None  # fields of its config.json, checked after the download
    warmup: AnyWarmup | None = None  # the warm-up of the tiny policy or of the model; null: the model is used unchanged
    max_new_tokens: Count = 32  # tokens of a completion; longer ones are cut

    @model_validator(mode="after")
    def _resolve_warmup(self) -> "Policy":
        """Decide whose warm-up it is, while the recipe is being made."""
        warmup = self.warmup
        if self.model is None and isinstance(warmup, ModelWarmup):
            keys = ", ".join(sorted(OF_MODEL))
            raise ValueError(f"policy.warmup fine-tunes a model by the keys {keys}; set policy.model, or remove them")
        if self.model is None:
            warmup = warmup or Warmup()
        elif isinstance(warmup, Warmup):
            warmup = _of_model(warmup)
        self.__dict__["warmup"] = warmup
        return self

    @property
    def tiny(self) -> Warmup:
        """The warm-up of the tiny policy; only where there is no model."""
        assert isinstance(self.warmup, Warmup)
        return self.warmup

    @property
    def tuning(self) -> ModelWarmup | None:
        """The fine-tuning of the model before training; None where the model is taken as it is."""
        return self.warmup if isinstance(self.warmup, ModelWarmup) else None
