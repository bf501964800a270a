"""The sentinel's detectors, one per fault; each has a small JSON state and a method ``observe``.

- :class:`ProxyGoldGap`: on dev, the training reward rises while gold falls; :func:`fall_on_other_draws` gives a second opinion.
- :class:`AccuracyDrop`: gold falls on the training prompts: a cheap hint between dev evaluations; dev decides.
- :class:`GradientSpikes`: the gradient's norm, before it is clipped.
- :data:`RULES`: one figure of a training step against a limit, fixed or relative to how the run began.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from ratchet.components.recipe import Sentinel

# ProxyGoldGap.
BEST_OF_SEVERAL = 1.0  # standard errors subtracted from a drop below the best evaluation, which was the best of several
SURE = 1.645  # one-sided 95% in standard errors
SUSPECTED = 1.28  # one-sided 90%: a suspicion costs a second opinion, and no more
MOST = 1e6  # standard errors of a change that is the same in every item; JSON has no infinity

# AccuracyDrop.
COMPARED, COMPARED_AT_LEAST = 20, 10  # steps compared with, and required before a step is judged
DROP_SLACK, DROP_LIMIT = 0.5, 3.0  # in standard deviations: a false alarm once in some hundred steps
LEAST_DEVIATION = 0.01  # of a nearly constant series

# GradientSpikes.
NORMS, NORMS_AT_LEAST = 128, 20  # steps whose norms are kept, and required before a norm is judged
LEAST_NORM = 1e-12
SPIKE_WINDOW, TOO_MANY_SPIKES = 50, 5  # spikes among the last steps that end training

GROWTH = 1.1  # from which length counts as growing
MISMATCH_KL = 0.015  # KL(sampler || trainer), mean k3 per token; prime-rl accepts no new model above it on any of 20 steps

Values = Sequence[float | None]


@dataclass
class ProxyGoldGap:
    """A one-sided CUSUM (Page 1954) of drops in gold that the proxy does not share. Its state is JSON.

    Gao et al. 2022 (arXiv:2210.10760) describe the pattern: under optimisation the proxy keeps rising after the gold reward
    has turned. Both are measured on the same dev samples; each evaluation is compared with the one before it, item by item.
    An item that gold could not judge there is compared with the evaluation that judged it last.
    """

    cusum: float = 0.0
    proxy: list[float | None] = field(default_factory=list)  # of each item when gold last judged it
    gold: list[float | None] = field(default_factory=list)
    best: list[float | None] = field(default_factory=list)  # gold at the evaluation where it was best, and the proxy there
    best_proxy: list[float | None] = field(default_factory=list)
    below: float = 0.0  # gold's drop from its best that the proxy does not share, in standard errors, at the last evaluation

    @property
    def suspected(self) -> bool:
        """Whether gold is so far below its best that a second opinion is worth its completions."""
        return self.below > SUSPECTED

    def observe(self, proxy: Values, gold: Values, slack: float) -> float:
        """Add an evaluation of the same items in the same order; returns the gap in standard errors, 0 near gold's best.

        C = max(0, C + drop - slack), with drop = -z_gold + min(0, z_proxy), each z the mean of the items' changes since the
        last evaluation in its standard errors. A proxy that rises adds nothing: its noise may be small, and it would outweigh
        any gold. If gold is stationary, a standard normal number is added, less the slack; if both fall, nothing.
        A slow drop is detected against the best evaluation itself, with the penalty ``BEST_OF_SEVERAL``.
        """
        if not self.gold:
            self.proxy, self.gold = self.best_proxy, self.best = list(proxy), list(gold)
            return 0.0
        drop = unshared_drop(proxy, gold, self.proxy, self.gold)
        self.cusum = max(0.0, self.cusum + drop - slack)
        now, best = (proxy, gold), (self.best_proxy, self.best)
        self.proxy, self.gold = judged(now, (self.proxy, self.gold))
        self.best_proxy, self.best = judged(now, best) if risen(gold, self.best) else judged(best, now)
        self.below = unshared_drop(proxy, gold, self.best_proxy, self.best)
        return max(self.cusum, self.below - BEST_OF_SEVERAL) if self.below > SURE else 0.0


def fall_on_other_draws(best: Sequence[tuple[Values, Values]], now: Sequence[tuple[Values, Values]]) -> float:
    """Gold's drop that the proxy does not share, in standard errors, over several evaluations of each policy as (proxy, gold).

    Each item counts once, with its mean: its completions are not independent. These draws are others than those by which the
    best evaluation was chosen and the suspicion arose, so the drop is unbiased and there is no penalty for looks.
    """
    (old_proxy, old_gold), (proxy, gold) = item_means(best), item_means(now)
    return unshared_drop(proxy, gold, old_proxy, old_gold)


def item_means(evaluations: Sequence[tuple[Values, Values]]) -> tuple[list[float | None], list[float | None]]:
    """Proxy and gold of each item, averaged over the evaluations in which gold judged it; None where none did."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    proxies, golds = zip(*evaluations, strict=True)
    return [mean(values) for values in zip(*proxies, strict=True)], [mean(values) for values in zip(*golds, strict=True)]


def judged(first: tuple[Values, Values], second: tuple[Values, Values]) -> tuple[list[float | None], list[float | None]]:
    """Proxy and gold of each item in the first evaluation, or in the second where gold could not judge it in the first."""
    items = list(zip(*first, *second, strict=True))
    proxies = [proxy if gold is not None else other for proxy, gold, other, _ in items]
    return proxies, [gold if gold is not None else other for _, gold, _, other in items]


def risen(now: Values, before: Values) -> bool:
    """Whether the mean is higher, over the items that have both values."""
    both = [(a, b) for a, b in zip(now, before, strict=True) if a is not None and b is not None]
    return sum(a for a, _ in both) > sum(b for _, b in both)


def unshared_drop(proxy: Values, gold: Values, old_proxy: Values, old_gold: Values) -> float:
    """Gold's drop less the proxy's, in standard errors."""
    return -paired_z(gold, old_gold) + min(0.0, paired_z(proxy, old_proxy))


def paired_z(now: Values, before: Values) -> float:
    """Mean of the paired differences in standard errors; 0 if nothing changed. Items without a value are left out."""
    changes = np.array([a - b for a, b in zip(now, before, strict=True) if a is not None and b is not None])
    if len(changes) < 2 or not changes.any():
        return 0.0
    mean, deviation = float(changes.mean()), float(changes.std(ddof=1))
    return mean / deviation * math.sqrt(len(changes)) if deviation > 0 else math.copysign(MOST, mean)


@dataclass
class AccuracyDrop:
    """A one-sided CUSUM of accuracy on the training prompts against its own last steps. Its state is JSON."""

    recent: list[float] = field(default_factory=list)
    cusum: float = 0.0

    def observe(self, accuracy: float) -> bool:
        """Add a step's accuracy; returns whether it has been falling. The sum then restarts."""
        if len(self.recent) >= COMPARED_AT_LEAST:
            deviation = max(LEAST_DEVIATION, float(np.std(self.recent, ddof=1)))
            self.cusum = max(0.0, self.cusum + (float(np.mean(self.recent)) - accuracy) / deviation - DROP_SLACK)
        self.recent = [*self.recent, accuracy][-COMPARED:]
        if self.cusum <= DROP_LIMIT:
            return False
        self.cusum = 0.0
        return True


@dataclass
class GradientSpikes:
    """Counts outliers among the norms. PaLM (arXiv:2204.02311, section 5.1) saw loss spikes that clipping did not prevent."""

    norms: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)  # steps of recent spikes

    def observe(self, step: int, norm: float, deviations: float) -> bool:
        """Add a norm; returns whether there are too many spikes. Later norms are not compared with a spike."""
        self.at = [s for s in self.at if s > step - SPIKE_WINDOW]
        if len(self.norms) >= NORMS_AT_LEAST and norm > spike_limit(self.norms, deviations):
            self.at.append(step)
        else:
            self.norms = [*self.norms, norm][-NORMS:]
        return len(self.at) >= TOO_MANY_SPIKES


def spike_limit(norms: Sequence[float], deviations: float) -> float:
    """Median plus that many median absolute deviations of the logarithms, as norms are skewed; at least twice the median."""
    logarithms = np.log(np.maximum(norms, LEAST_NORM))
    median = np.median(logarithms)
    spread = np.median(np.abs(logarithms - median))
    return float(np.exp(median + max(np.log(2), deviations * spread)))


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
    Rule("silent", "silent_groups", "frac_unsolved_zero_std", "fixed"),
    Rule("missing", "missing_rewards", "frac_reward_missing", "fixed"),
    Rule("clipped", "ratio", "clip_ratio/region_mean", "fixed"),
    Rule("mismatch", "mismatch", "mismatch/log_prob_mean_abs", "fixed"),
)
BASELINES = sorted({rule.signal for rule in RULES if rule.form != "fixed"})


def doubtful(figures: Mapping[str, float], limits: Sentinel) -> list[str]:
    """Warnings that never end training: the sampler is farther from the trainer than a synchronised engine is."""
    return ["mismatch_kl"] if limits.mismatch is not None and figures.get("mismatch/kl", 0.0) > MISMATCH_KL else []


class Crossing(NamedTuple):
    """A rule whose limit a step has crossed."""

    rule: Rule
    value: float
    limit: float


def crossings(figures: Mapping[str, float], baseline: Mapping[str, float], limits: Sentinel) -> Iterator[Crossing]:
    """The rules that a step's figures cross; one whose figure or baseline is unknown is silent.

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
    """A reward may legitimately prefer longer answers; it is exploited if the answers become longer in response."""
    start = baseline.get("completions/mean_length")
    return start is not None and figures.get("completions/mean_length", 0.0) > GROWTH * start
