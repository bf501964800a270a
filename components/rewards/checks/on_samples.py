"""Checks on samples of the current policy: does the reward separate right from wrong answers, reproducibly?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ratchet.components.randomness import stream
from ratchet.components.rewards.checks.check import FEWEST, PROMPTS, Check, at_least, at_most, exact, failed, unmeasured, wins
from ratchet.components.statistics.intervals import (
    Floats,
    Integers,
    Interval,
    bootstrap_bounds,
    clustered_mean,
    clustered_share,
)

NOTHING = "All samples of each prompt are right, or all are wrong: choose prompts of medium difficulty, or another policy."


@dataclass(frozen=True)
class Group:
    """One prompt's scored samples. k: samples, R: repeats."""

    row: Mapping[str, Any]
    completions: Sequence[str]
    repeats: Floats  # [R, k], NaN if a completion could not be judged
    gold: Floats  # [k], the gold's score, 1 right and 0 wrong where it says so; NaN if it could not judge
    read: Floats | None = None  # [k], 1 where the gold found an answer, else 0; NaN if it could not judge

    @property
    def values(self) -> Floats:
        """The first scoring, [k]: what training would see."""
        first: Floats = self.repeats[0]
        return first

    @property
    def judged(self) -> "Group":
        """Without the samples that could not be judged in every repeat."""
        kept = np.asarray(np.isfinite(self.repeats).all(axis=0) & np.isfinite(self.gold))
        texts = [text for text, keep in zip(self.completions, kept.tolist(), strict=True) if keep]
        return Group(self.row, texts, self.repeats[:, kept], self.gold[kept])


def finiteness(values: Floats) -> Check:
    """Share of finite rewards; all must be."""
    share = float(np.isfinite(values).mean()) if len(values) else 0.0
    advice = "The reward gave NaN, infinity or nothing; find the completion it fails on and fix the reward."
    return exact("finiteness", share, 1.0, share == 1.0, advice)


def value_range(values: Floats) -> Check:
    """Highest minus lowest reward on samples; a constant reward carries no signal."""
    finite = values[np.isfinite(values)]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return exact("range", spread, 0.0, spread > 0, "The reward is constant on the policy's samples; use another.")


def length_correlation(groups: Sequence[Group], threshold: float, level: float) -> Check:
    """|Somers' D| of reward given length, among equally right samples of one prompt: what a group-relative advantage pays for.

    With p the share of pairs of different length in which the longer sample has the higher reward (ties half), D = 2 p - 1.
    """
    name, advice = (
        "length_correlation",
        "The reward pays for length; add pairs whose chosen answer is the shorter one, or set reward.model.length_debiased.",
    )
    counted = [longer_wins(group) for group in groups]
    higher, compared = (np.array([pair[i] for pair in counted]) for i in (0, 1))
    if compared.sum() < FEWEST:
        return unmeasured(name, threshold, advice, "equally right samples of one prompt do not differ in length")
    detail = f"{compared.sum():.0f} pairs of samples"
    if np.array_equal(2 * higher, compared) and all(
        np.ptp(g.values[g.gold == v]) == 0 for g in groups for v in np.unique(g.gold)
    ):
        return exact(name, 0.0, threshold, True, advice, f"{detail}, equally rewarded")
    share = clustered_share(higher, compared, level)
    value, low, high = (2 * bound - 1 for bound in share[:3])
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return at_most(name, Interval(abs(value), nearest, max(abs(low), abs(high)), share.n), threshold, advice, detail, PROMPTS)


def longer_wins(group: Group) -> tuple[float, float]:
    """Pairs of equally right samples of different length: in how many the longer has the higher reward (ties half), and all."""
    lengths = np.array([len(text) for text in group.completions])
    first, second = np.nonzero((group.gold[:, None] == group.gold) & (lengths[:, None] > lengths))
    return float(wins(group.values[first], group.values[second]).sum()), float(len(first))


def agreement(groups: Sequence[Group], threshold: float, level: float) -> Check:
    """AUC among samples of one prompt: P(a right sample scores above a wrong one), clustered by prompt."""
    counted = [discordant_wins(group.values, group.gold) for group in groups]
    ordered, compared = (np.array([pair[i] for pair in counted]) for i in (0, 1))
    figure = clustered_share(ordered, compared, level)
    if figure.n == 0:
        return replace(failed("agreement", threshold, NOTHING, "no prompt has both right and wrong samples"), undecided=True)
    advice = "The reward does not separate right from wrong answers of this policy; retrain it on this policy's samples."
    detail = f"{figure.n} prompts with both; Kendall's tau {kendall(groups):.2f}"
    return at_least("agreement", figure, threshold, advice, detail, PROMPTS)


def kendall(groups: Sequence[Group]) -> float:
    """Mean of Kendall's tau-b of reward and gold over the prompts in which both vary; 0 if there are none."""
    taus = [
        float(stats.kendalltau(group.values, group.gold).statistic)
        for group in groups
        if len(np.unique(group.values)) > 1 and len(np.unique(group.gold)) > 1
    ]
    return float(np.mean(taus)) if taus else 0.0


def silent_groups(groups: Sequence[Group], threshold: float, level: float) -> Check:
    """Share of prompts whose samples all have the same reward: they give a group-relative algorithm no signal."""
    silent = np.array([float(len(np.unique(group.values)) <= 1) for group in groups])
    if not len(silent):
        return failed("silent_groups", threshold, "Raise reward.validation.samples.", "there are no samples")
    figure = clustered_share(silent, np.ones(len(silent)), level)
    advice = "Most prompts are too easy or too hard for this policy. Choose others, raise train.k, or use dynamic sampling."
    return at_most("silent_groups", figure, threshold, advice, f"{len(silent)} prompts", PROMPTS)


def noise_variance(groups: Sequence[Group]) -> float:
    """Variance of the reward when the same text is scored again."""
    variances = [group.repeats.var(axis=0, ddof=1) for group in groups if group.repeats.size]
    return float(np.concatenate(variances).mean()) if variances else 0.0


def within_variance(groups: Sequence[Group]) -> float:
    """Variance of the reward among samples of one prompt, less the scoring noise."""
    variances = [group.repeats.mean(axis=0).var(ddof=1) for group in groups if group.repeats.shape[1] > 1]
    if not variances:
        return 0.0
    repeats = len(groups[0].repeats)
    return max(0.0, float(np.mean(variances)) - noise_variance(groups) / repeats)


def signal_share(groups: Sequence[Group]) -> float:
    """rho = signal / (signal + noise) within prompts; 0 if nothing varies."""
    return _signal_share(within_variance(groups), noise_variance(groups))


def _signal_share(signal: float, noisy: float) -> float:
    return signal / (signal + noisy) if signal + noisy > 0 else 0.0


def signal_share_interval(groups: Sequence[Group], level: float) -> Interval:
    """:func:`signal_share` with a bootstrap interval over prompts; without one if there are no groups of two samples."""
    groups = [group for group in groups if group.repeats.shape[1] > 1]
    if not groups:
        return Interval(0.0, 0.0, 0.0, 0)
    repeats = len(groups[0].repeats)
    sums = np.array([group.repeats.var(axis=0, ddof=1).sum() for group in groups])
    counts = np.array([group.repeats.shape[1] for group in groups])
    between = np.array([group.repeats.mean(axis=0).var(ddof=1) for group in groups])

    def share(drawn: Integers) -> float:
        noisy = float(sums[drawn].sum() / counts[drawn].sum())
        return _signal_share(max(0.0, float(between[drawn].mean()) - noisy / repeats), noisy)

    value = signal_share(groups)
    low, high = bootstrap_bounds(share, value, len(groups), level, stream(0, "noise_bootstrap"))
    return Interval(value, max(0.0, low), min(1.0, high), len(groups))


def centred(groups: Sequence[Group]) -> list[Group]:
    """Each scoring less its mean over the prompt's samples: a common shift is not noise, as it does not affect training."""
    kept = [group for group in groups if group.repeats.shape[1] > 0]
    return [replace(group, repeats=group.repeats - group.repeats.mean(axis=1, keepdims=True)) for group in kept]


def noise(
    groups: Sequence[Group], threshold: float, level: float, others: Mapping[str, Sequence[Group]] | None = None
) -> Check:
    """rho: the share of the variance within prompts that recurs in another scoring; every kind must pass.

    Args:
        groups: the same texts scored again.
        others: further kinds, by name, in which another wording or another model replaces the repetition.
    """
    shares = {"scored again": signal_share_interval(groups, level)}
    shares |= {name: signal_share_interval(centred(kind), level) for name, kind in (others or {}).items()}
    worst = min(shares, key=lambda name: shares[name].low)
    advice = "The same answer gets different rewards. Average several scorings, or fix the judge; a larger k does not help."
    detail = f"retest sd {math.sqrt(noise_variance(groups)):.3g}"
    if others:
        detail += "; " + ", ".join(f"{name} {share.value:.2f}" for name, share in shares.items())
    return at_least("noise", shares[worst], threshold, advice, detail, PROMPTS)


def best_of_n_curve(groups: Sequence[Group]) -> list[dict[str, float]]:
    """Proxy and gold of best-of-n by n, {n, kl, proxy, gold, gold_low, gold_high}, from prompts with all their samples."""
    k = max((len(group.gold) for group in groups), default=0)
    whole = [group for group in groups if len(group.gold) == k]
    points = []
    for n in sizes_up_to(k) if k else []:
        gold = np.array([best_of_n(group.values, group.gold, n) for group in whole])
        proxy = float(np.mean([best_of_n(group.values, group.values, n) for group in whole]))
        figure = clustered_mean(gold, np.ones(len(gold)))
        low, high = (bound if math.isfinite(bound) else figure.value for bound in (figure.low, figure.high))
        points.append({"n": n, "kl": best_of_n_kl(n), "proxy": proxy, "gold": figure.value, "gold_low": low, "gold_high": high})
    return points


def best_of_n_fall(groups: Sequence[Group], threshold: float, level: float) -> Check:
    """How far gold at the largest n is below gold at a smaller one; below a single sample it must not be at all.

    Every smaller n must pass; the one with the least room is shown.
    """
    name, advice = (
        "best_of_n",
        "Selecting by this reward soon lowers gold: it will be hacked. Retrain it, mix in a verifier, limit the KL.",
    )
    last = max((len(group.gold) for group in groups), default=0)
    whole = [group for group in groups if len(group.gold) == last]
    if last < 2:
        return failed(name, threshold, "Raise reward.validation.samples.", "there are no samples")
    gold = {n: np.array([best_of_n(group.values, group.gold, n) for group in whole]) for n in sizes_up_to(last)}
    falls = {n: clustered_mean(gold[n] - gold[last], np.ones(len(whole)), level) for n in gold if n < last}
    limits = {n: threshold if n > 1 else 0.0 for n in falls}
    worst = max(falls, key=lambda n: falls[n].high - limits[n])
    means = ", ".join(f"{values.mean():.3f} at n={n}" for n, values in gold.items())
    return at_most(name, falls[worst], limits[worst], advice, f"gold {means}; fall from n={worst}", PROMPTS)


def discordant_wins(values: Floats, gold: Floats) -> tuple[float, float]:
    """The pairs (better, worse) by gold of one prompt's samples: how many are ordered correctly (ties half), of how many."""
    ordered = wins(values[:, None], values[None, :])[gold[:, None] > gold[None, :]]
    return float(ordered.sum()), float(len(ordered))


def best_of_n(proxy: Floats, target: Floats, n: int) -> float:
    """Expected target of the sample with the highest proxy among ``n`` drawn without replacement from one prompt's samples.

    Unbiased; ties in the proxy are broken at random.

    Args:
        proxy: [k].
        target: [k].
    """
    k = len(proxy)
    subsets, total, below = math.comb(k, n), 0.0, 0
    for value in np.unique(proxy):
        block = proxy == value
        upto = below + int(block.sum())
        total += (math.comb(upto, n) - math.comb(below, n)) / subsets * float(target[block].mean())
        below = upto
    return total


def best_of_n_kl(n: int) -> float:
    """Upper bound of the KL of best-of-n to the policy, log n - (n - 1) / n nats (Beirami et al. 2024, arXiv:2401.01879)."""
    return math.log(n) - (n - 1) / n


def sizes_up_to(k: int) -> list[int]:
    """1, 2, 4, ... and k."""
    return sorted({2**i for i in range(int(math.log2(k)) + 1)} | {k})
