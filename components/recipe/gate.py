"""The section ``gate``."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ratchet.components.recipe.base import Count, Name, Positive, Section, Share
from ratchet.components.recipe.measures import OF_LABELS, OF_TEXTS, Measure, is_measure, kind_of

Level = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
# The gate's "epoch" is the use of one sealed fold, from its first to its last; ``train.epochs`` are passes over a batch.
ErrorMode = Literal["fwer_epoch", "fdr", "per_run"]


def _of_grader(values: Any) -> Any:
    """``{grader: NAME}`` is the measure ``grader/NAME``."""
    if not isinstance(values, dict) or "grader" not in values:
        return values
    if "measure" in values:
        raise ValueError("grader and measure are both given; name one of them")
    rest = {key: value for key, value in values.items() if key != "grader"}
    return {"measure": f"grader/{values['grader']}", **rest}


class Primary(Section):
    """What the challenger must improve, on the sealed fold."""

    measure: Measure = "accuracy"  # what is compared
    # auto: exact McNemar where the measure is binary, else Gaffke's where it lies between 0 and 1.
    test: Literal["auto", "mcnemar", "gaffke", "sign_flip", "clustered_t", "randomization"] = "auto"
    min_effect: NonNegative = 0.0  # the gain must be above this, not just above 0

    _short = model_validator(mode="before")(_of_grader)

    @model_validator(mode="after")
    def _testable(self) -> "Primary":
        kind = kind_of(self.measure)
        if kind.corpus and (self.test not in ("auto", "randomization") or self.min_effect > 0):
            raise ValueError(
                f"{self.measure} is of all items together, and its test (randomization) asks whether the gain is above 0; "
                "use test: auto and min_effect 0"
            )
        if self.test == "randomization" and not kind.corpus:
            raise ValueError(f"test randomization is for {', '.join(OF_LABELS + OF_TEXTS)}; use auto")
        if not kind.more_is_better:
            raise ValueError(
                f"higher must be better for the primary measure, and lower {self.measure!r} is better; use a guard"
            )
        if self.test == "mcnemar" and (not kind.binary or self.min_effect > 0):
            raise ValueError("test mcnemar needs a right-or-wrong measure and min_effect 0; use auto")
        if self.test == "gaffke" and not kind.share:
            raise ValueError(f"test gaffke needs a measure between 0 and 1, and {self.measure} has no such limits; use auto")
        return self


def _named(value: Any) -> Any:
    """A name alone is a measure, or else a grader."""
    return {"measure": value if is_measure(value) else f"grader/{value}"} if isinstance(value, str) else value


class AllOf(Section):
    """Several measures, each of which the challenger must improve."""

    all_of: Annotated[list[Annotated[Primary, BeforeValidator(_named)]], Field(min_length=2)]  # each must pass

    @model_validator(mode="before")
    @classmethod
    def _stands_alone(cls, values: Any) -> Any:
        others = sorted(set(values) - {"all_of"}) if isinstance(values, dict) else []
        if others:
            raise ValueError(
                f"all_of names everything that must be better, and {others[0]} stands beside it; remove one of them"
            )
        return values


def _shape(value: Any) -> str:
    several = "all_of" in value if isinstance(value, dict) else isinstance(value, AllOf)
    return "several" if several else "one"


class Guard(Section):
    """What the challenger must not make worse. Exactly one of ``margin``, ``max_ratio`` and ``max``."""

    measure: Measure  # what must not get worse
    on: str = "sealed"  # or guard (the split), or a benchmark's name
    slice: Name | None = None  # one of evaluation.slices, in place of all items
    margin: NonNegative | None = None  # non-inferior: worse than the incumbent by less than this
    max_ratio: Positive | None = None  # at most this times the incumbent's mean
    max: NonNegative | None = None  # the mean is at most this

    _short = model_validator(mode="before")(_of_grader)

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

    # What a challenger must be better at.
    primary: Annotated[Annotated[Primary, Tag("one")] | Annotated[AllOf, Tag("several")], Discriminator(_shape)] = Primary()
    guards: list[Guard] = Field(
        default_factory=lambda: [Guard(measure="length", max_ratio=1.5), Guard(measure="kl", max=20.0)]  # nats per completion
    )
    guard_alpha: Level = 0.05  # each guard's own level
    floor: float = 0.5  # a first champion's primary measures must be above this (lower bounds)
    error_mode: ErrorMode = "fwer_epoch"  # what the level bounds: see alpha_epoch, alpha_fdr, alpha_run
    alpha_epoch: Level = 0.05  # fwer_epoch: chance of any false promotion while one sealed fold is in use
    alpha_fdr: Level = 0.10  # fdr: expected share of false ones among the promotions
    alpha_run: Level = 0.01  # per_run: chance of a false promotion per use
    uses_per_epoch: Count = 26  # uses of a sealed fold before it is retired
    when_spent: Literal["next_fold", "refuse"] = "next_fold"  # after the last use of a fold
    target_effect: Positive = 0.10  # smallest gain the gate must be able to detect, with power 0.8
    max_missing: Share = 0.0  # share of the items; any more is INVALID
    approval: Literal["none", "required"] = "none"  # required: a promotion waits for `ratchet approve RUN`
    approval_hours: Positive = 24.0  # how long it waits

    @property
    def primaries(self) -> list[Primary]:
        """All that the challenger must improve."""
        return self.primary.all_of if isinstance(self.primary, AllOf) else [self.primary]

    @property
    def measures(self) -> list[str]:
        """The measures of every rule."""
        return [*(one.measure for one in self.primaries), *(guard.measure for guard in self.guards)]

    @model_validator(mode="after")
    def _target_is_visible(self) -> "Rules":
        least = max(one.min_effect for one in self.primaries)
        if self.target_effect <= least:
            raise ValueError(
                f"target_effect {self.target_effect:g} is not above primary.min_effect {least:g}, so that "
                "it could never be detected; raise target_effect"
            )
        return self


class Gate(Section):
    """The promotion gate."""

    rules: Rules
    after_stop: bool = True  # judge the best checkpoint of a stopped run; never after non-finite updates
