"""Rules that compare one figure of a training step with a limit: fixed, or relative to how the run began."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from ratchet.components.recipe import Sentinel as Limits


class Rule(NamedTuple):
    """A figure's limit: the recipe's value itself, or its multiple of (``times``) or sum with (``plus``) the start."""

    name: str  # of the limit in the recipe
    reason: str
    signal: str
    form: Literal["fixed", "times", "plus"]
    below: bool = False  # too low rather than too high


RULES = (
    Rule("kl", "kl", "objective/kl", "fixed"),
    Rule("length", "length", "completions/mean_length", "times"),
    Rule("truncated", "length", "completions/clipped_ratio", "plus"),
    Rule("length_correlation", "length", "completions/length_correlation", "fixed"),
    Rule("entropy_low", "entropy", "entropy", "times", below=True),
    Rule("entropy_high", "entropy", "entropy", "times"),
    Rule("distinct_2", "repetition", "completions/distinct_2", "times", below=True),
    Rule("identical", "repetition", "completions/identical_wrong", "fixed"),
    Rule("silent", "silent_groups", "frac_unsolved_silent", "fixed"),
    Rule("missing", "missing_rewards", "frac_reward_missing", "fixed"),
    Rule("clipped", "ratio", "clip_ratio/region_mean", "fixed"),
    Rule("mismatch", "mismatch", "mismatch/log_prob_mean_abs", "fixed"),
)
BASELINES = sorted({rule.signal for rule in RULES if rule.form != "fixed"})
GROWTH = 1.1  # from which length counts as growing


class Crossing(NamedTuple):
    """A rule whose limit a step has crossed."""

    rule: Rule
    value: float
    limit: float


def crossings(figures: Mapping[str, float], baseline: Mapping[str, float], limits: Limits) -> Iterator[Crossing]:
    """The rules that a step's figures cross; one whose figure or whose start is not known is silent.

    Args:
        baseline: mean of each of ``BASELINES`` over the first steps.
    """
    for rule in RULES:
        limit = _limit(rule, getattr(limits, rule.name), baseline)
        value = figures.get(rule.signal)
        if limit is None or value is None or (rule.name == "length_correlation" and not _growing(figures, baseline)):
            continue
        if value < limit if rule.below else value > limit:
            yield Crossing(rule, value, limit)


def _limit(rule: Rule, given: float | None, baseline: Mapping[str, float]) -> float | None:
    if given is None or rule.form == "fixed":
        return given
    start = baseline.get(rule.signal)
    if start is None:
        return None
    return given * start if rule.form == "times" else given + start


def _growing(figures: Mapping[str, float], baseline: Mapping[str, float]) -> bool:
    """A reward may rightly prefer longer answers; it is paid for length when the answers follow it."""
    start = baseline.get("completions/mean_length")
    return start is not None and figures.get("completions/mean_length", 0.0) > GROWTH * start
