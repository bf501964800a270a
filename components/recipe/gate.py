"""The section ``gate``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ratchet.components.recipe.base import Count, Name, Positive, Section, Share
from ratchet.components.recipe.measures import Measure, kind_of

Level = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
# The gate's "epoch" is the use of one sealed fold, from its first to its last; ``train.epochs`` are passes over a batch.
ErrorMode = Literal["fwer_epoch", "fdr", "per_run"]


class Primary(Section):
    """What the challenger must improve, on the sealed fold."""

    measure: Measure = "accuracy"
    test: Literal["auto", "mcnemar", "sign_flip", "clustered_t"] = "auto"
    min_effect: NonNegative = 0.0  # the gain must be above this, not just above 0

    @model_validator(mode="after")
    def _testable(self) -> "Primary":
        kind = kind_of(self.measure)
        if not kind.more_is_better:
            raise ValueError(
                f"higher must be better for the primary measure, and lower {self.measure!r} is better; use a guard"
            )
        if self.test == "mcnemar" and (not kind.binary or self.min_effect > 0):
            raise ValueError("test mcnemar needs a right-or-wrong measure and min_effect 0; use auto, sign_flip or clustered_t")
        return self


class Guard(Section):
    """What the challenger must not make worse. Exactly one of ``margin``, ``max_ratio`` and ``max``."""

    measure: Measure
    on: str = "sealed"  # or guard (the split), or a benchmark's name
    slice: Name | None = None
    margin: NonNegative | None = None  # non-inferior: worse than the incumbent by less than this
    max_ratio: Positive | None = None  # at most this times the incumbent's mean
    max: NonNegative | None = None  # the mean is at most this

    @model_validator(mode="after")
    def _one_bound(self) -> "Guard":
        if [self.margin, self.max_ratio, self.max].count(None) != 2:
            raise ValueError(f"the guard on {self.measure!r} needs exactly one of margin, max_ratio and max")
        if self.margin is None and kind_of(self.measure).more_is_better:
            raise ValueError(f"of {self.measure!r} more is better, so max_ratio and max do not bound it; use margin")
        if self.measure == "kl_incumbent" and self.max is None:
            raise ValueError("the incumbent has no KL to itself to compare with; bound kl_incumbent by max")
        return self


class Rules(Section):
    """When a challenger may replace the incumbent."""

    primary: Primary = Primary()
    guards: list[Guard] = Field(
        default_factory=lambda: [Guard(measure="length", max_ratio=1.5), Guard(measure="kl", max=20.0)]  # nats per completion
    )
    guard_alpha: Level = 0.05  # each guard's own level
    floor: float = 0.5  # a first champion's primary measure must be above this (lower bound)
    error_mode: ErrorMode = "fwer_epoch"
    alpha_epoch: Level = 0.05  # fwer_epoch: chance of any false promotion while one sealed fold is in use
    alpha_fdr: Level = 0.10  # fdr: expected share of false ones among the promotions
    alpha_run: Level = 0.01  # per_run: chance of a false promotion per use
    uses_per_epoch: Count = 26  # uses of a sealed fold before it is retired
    when_spent: Literal["next_fold", "refuse"] = "next_fold"
    target_effect: Positive = 0.10  # smallest gain the gate must be able to detect, with power 0.8
    max_missing: Share = 0.0  # of the items; any more is INVALID
    approval: Literal["none", "required"] = "none"  # required: a promotion waits for `ratchet approve RUN`
    approval_hours: Positive = 24.0  # how long it waits

    @model_validator(mode="after")
    def _target_is_visible(self) -> "Rules":
        if self.target_effect <= self.primary.min_effect:
            raise ValueError(
                f"target_effect {self.target_effect:g} is not above primary.min_effect {self.primary.min_effect:g}, so that "
                "it could never be detected; raise target_effect"
            )
        return self


class Gate(Section):
    """The promotion gate."""

    rules: Rules
    after_stop: bool = True  # judge the best checkpoint of a stopped run; never after non-finite updates
