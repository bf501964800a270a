"""The sections ``evaluation`` and ``gate``."""

from typing import Annotated, Literal

from pydantic import Field

from components.recipe.base import Count, Positive, Section, Share


class Evaluation(Section):
    """How a policy is measured."""

    dev_items: Count = 400  # items of the dev split scored during training and in the report
    temperature: Positive = 1.0
    sample_rows: Count = 40  # completions kept in the samples table


class Rules(Section):
    """When a challenger may replace the incumbent."""

    alpha_epoch: Annotated[float, Field(gt=0, lt=1)] = 0.05
    uses_per_epoch: Count = 26
    floor: Share = 0.5  # a first champion's accuracy must be above it (lower bound)
    target_effect: Positive = 0.10  # smallest gain the gate must be able to see, with power 0.8
    max_length_ratio: Positive = 1.5  # challenger's mean length against the incumbent's
    max_kl: Positive = 20.0  # nats a completion, challenger to starting policy
    guard_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_missing: Share = 0.01
    approval: Literal["none", "required"] = "none"  # required: a promotion waits for `ratchet approve RUN`
    approval_hours: Positive = 24.0  # how long it waits


class Gate(Section):
    """The promotion gate."""

    rules: Rules
    after_stop: bool = True  # may the best checkpoint of a stopped run be judged? never after updates that were not finite
