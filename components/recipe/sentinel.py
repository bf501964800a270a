"""The section ``train.sentinel``: when training must end. A rule set to null is off."""

from typing import Annotated

from pydantic import Field

from ratchet.components.recipe.base import Count, Positive, Section, Share

Steps = Annotated[tuple[Count, ...], Field(strict=False)]  # YAML only has lists
AboveOne = Annotated[float, Field(gt=1)]


class Sentinel(Section):
    """Limits of the signals; docs/sentinel.md gives the source of each and the remedy.

    Limits relative to the initial value compare with the mean of the first ``baseline_steps`` steps.
    """

    patience: Count = 3  # consecutive steps over a limit; before that it is a warning
    baseline_steps: Count = 5  # the first steps, whose mean is the initial value
    looks: Steps = (1, 2, 3, 4, 5, 6, 8, 10, 13)  # dev is evaluated after these steps too: a bad reward does its harm early
    gap: Positive | None = 3.0  # proxy against gold on dev: decision limit of the CUSUM, in standard errors
    gap_slack: Annotated[float, Field(ge=0)] = 0.5  # a difference that the CUSUM ignores at each evaluation
    second_opinion: Positive | None = 2.5  # the same on other completions, drawn when gold seems to fall, in standard errors
    kl: Positive | None = 20.0  # nats per completion from the starting policy
    length: AboveOne | None = 2.0  # mean length, as a multiple of the initial one
    truncated: Share | None = 0.2  # rise of the share of completions cut at policy.max_new_tokens
    length_correlation: Share | None = 0.7  # correlation of reward and length within groups, while length has grown by a tenth
    entropy_low: Share | None = 0.1  # share of the initial one
    entropy_high: AboveOne | None = 3.0  # multiple of the initial one
    distinct_2: Share | None = 0.5  # distinct pairs of adjacent tokens, as a share of the initial value
    identical: Share | None = 0.5  # share of completions that are wrong and equal another of their group
    silent: Share | None = 0.8  # share of zero-variance groups, not counting fully solved groups
    missing: Share | None = 0.05  # share of completions without a reward
    gradient: Positive | None = 6.0  # a spike is this many median absolute deviations above the median of 128 log norms
    clipped: Share | None = 0.5  # share of tokens whose ratio the loss clips
    mismatch: Positive | None = 0.05  # mean |difference| of the sampler's and the trainer's log-probs under the same weights
    nonfinite: Count = 3  # consecutive non-finite updates that were skipped; this rule cannot be disabled
