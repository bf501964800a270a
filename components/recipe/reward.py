"""The section ``reward``: what is trained against, and what it must show first."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.recipe.base import Count, Positive, Section, Share


class RewardModel(Section):
    """A Bradley-Terry reward model trained on preference pairs."""

    base: str | None = None  # a model directory; by default the starting policy's trunk
    steps: Count = 400
    batch: Count = 32
    lr: Positive = 3e-4
    label_noise: Share = 0.0  # share of training pairs with flipped labels; held-out pairs are untouched


class RewardValidation(Section):
    """What a reward must show before anything is trained against it."""

    pair_accuracy_lower_bound: Share = 0.75
    max_length_correlation: Share = 0.5
    min_agreement: Share = 0.6  # AUC of the reward against the verifier on samples of the current policy
    samples: Count = 256  # prompts sampled from the current policy


class Reward(Section):
    """The training reward."""

    kind: Literal["verifier", "model", "mix", "custom"] = "mix"
    verifier_weight: Annotated[float, Field(ge=0)] = 1.0  # used by mix
    model_weight: Annotated[float, Field(ge=0)] = 0.2  # used by mix; the model's score is squashed into (0, 1)
    function: str | None = None  # used by custom: module:function
    model: RewardModel = RewardModel()
    validation: RewardValidation = RewardValidation()

    @model_validator(mode="after")
    def _kind_has_its_parts(self) -> "Reward":
        if (self.kind == "custom") != (self.function is not None):
            raise ValueError("reward.function goes with reward.kind=custom, and only with it; set both or neither")
        if self.kind == "mix" and self.verifier_weight + self.model_weight == 0:
            raise ValueError("both weights of the mix are zero; raise reward.verifier_weight or reward.model_weight")
        return self

    @property
    def needs_model(self) -> bool:
        return self.kind in ("model", "mix")
