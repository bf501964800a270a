"""Checks on samples of the current policy: does the reward separate right from wrong answers, reproducibly?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ratchet.components.rewards.checks.check import Check, measured, unmeasured, wins
from ratchet.components.statistics.intervals import Floats, Interval, clustered_mean, clustered_share

NOTHING = "All samples of each prompt are right, or all are wrong: choose prompts of medium difficulty, or another policy."


@dataclass(frozen=True)
class Group:
    """One prompt's scored samples. k: samples, R: repeats."""

    row: Mapping[str, Any]
    completions: Sequence[str]
    repeats: Floats  # [R, k], NaN if a completion could not be judged
    gold: Floats  # [k], the gold's score, 1 right and 0 wrong where it says so; NaN if it could not judge

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
    return Check("finiteness", share, None, None, 1.0, share == 1.0, advice)


def value_range(values: Floats) -> Check:
    """Highest minus lowest reward on samples; a constant reward carries no signal."""
    finite = values[np.isfinite(values)]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    return Check("range", spread, None, None, 0.0, spread > 0, "The reward is constant on the policy's samples; use another.")


def length_correlation(values: Floats, lengths: Floats, gold: Floats, threshold: float) -> Check:
    """|Spearman| of reward and length among answers that are equally right, so that legitimate length effects do not count."""
    correlations = []
    for verdict in np.unique(gold):
        kept = (gold == verdict) & np.isfinite(values)
        mine, theirs = values[kept], lengths[kept]
        if kept.sum() >= 10 and len(np.unique(mine)) > 1 and len(np.unique(theirs)) > 1:
            correlations.append((int(kept.sum()), float(stats.spearmanr(mine, theirs).statistic)))
    total = sum(n for n, _ in correlations)
    value = abs(sum(n * c for n, c in correlations) / total) if total else 0.0
    advice = (
        "The reward pays for length; add pairs whose chosen answer is the shorter one, or set reward.model.length_debiased."
    )
    return Check("length_correlation", value, None, None, threshold, value <= threshold, advice)


def agreement(groups: Sequence[Group], threshold: float) -> Check:
    """AUC among samples of one prompt: P(a right sample scores above a wrong one), clustered; the lower bound must hold."""
    counted = [discordant_wins(group.values, group.gold) for group in groups]
    figure = clustered_share(*(np.array([pair[i] for pair in counted]) for i in (0, 1)))
    if figure.n == 0:
        return unmeasured("agreement", threshold, False, NOTHING, "no prompt has both right and wrong samples")
    advice = "The reward does not separate right from wrong answers of this policy; retrain it on this policy's samples."
    detail = f"{figure.n} prompts with both; Kendall's tau {kendall(groups):.2f}"
    return measured("agreement", figure, threshold, figure.low >= threshold, advice, detail)


def kendall(groups: Sequence[Group]) -> float:
    """Mean of Kendall's tau-b of reward and gold over the prompts in which both vary; 0 if there are none."""
    taus = [
        float(stats.kendalltau(group.values, group.gold).statistic)
        for group in groups
        if len(np.unique(group.values)) > 1 and len(np.unique(group.gold)) > 1
    ]
    return float(np.mean(taus)) if taus else 0.0


def silent_groups(groups: Sequence[Group], threshold: float) -> Check:
    """Share of prompts whose samples all have the same reward: they give a group-relative algorithm no signal."""
    silent = np.array([float(len(np.unique(group.values)) <= 1) for group in groups])
    if not len(silent):
        return unmeasured("silent_groups", threshold, False, "Raise reward.validation.samples.", "there are no samples")
    figure = clustered_share(silent, np.ones(len(silent)))
    advice = "Most prompts are too easy or too hard for this policy. Choose others, raise train.k, or use dynamic sampling."
    return measured("silent_groups", figure, threshold, figure.value <= threshold, advice)


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
    signal, noisy = within_variance(groups), noise_variance(groups)
    return signal / (signal + noisy) if signal + noisy > 0 else 0.0


def centred(groups: Sequence[Group]) -> list[Group]:
    """Each scoring less its mean over the prompt's samples: a common shift is not noise, as it does not affect training."""
    return [replace(group, repeats=group.repeats - group.repeats.mean(axis=1, keepdims=True)) for group in groups]


def noise(groups: Sequence[Group], threshold: float, others: Mapping[str, Sequence[Group]] | None = None) -> Check:
    """rho: the share of the variance within prompts that recurs in another scoring; the worst kind counts.

    Args:
        groups: the same texts scored again.
        others: further kinds, by name, in which another wording or another model replaces the repetition.
    """
    shares = {"scored again": signal_share(groups)}
    shares |= {
        name: signal_share(centred([g for g in kind if g.repeats.shape[1] > 1])) for name, kind in (others or {}).items()
    }
    worst = min(shares, key=lambda name: shares[name])
    advice = "The same answer gets different rewards. Average several scorings, or fix the judge; a larger k does not help."
    detail = f"retest sd {math.sqrt(noise_variance(groups)):.3g}"
    if others:
        detail += "; " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return Check("noise", shares[worst], None, None, threshold, shares[worst] >= threshold, advice, detail)


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


def best_of_n_fall(groups: Sequence[Group], threshold: float) -> Check:
    """How far gold at the largest n is below its highest point on the curve; fails if that is significantly too far.

    It also fails if the largest n is worse than one sample.
    """
    advice = "Selecting by this reward soon lowers gold: it will be hacked. Retrain it, mix in a verifier, limit the KL."
    curve = best_of_n_curve(groups)
    if not curve:
        return unmeasured("best_of_n", threshold, False, "Raise reward.validation.samples.", "there are no samples")
    last, best = int(curve[-1]["n"]), int(max(curve, key=lambda point: point["gold"])["n"])
    whole = [group for group in groups if len(group.gold) == last]
    falls = np.array([best_of_n(g.values, g.gold, best) - best_of_n(g.values, g.gold, last) for g in whole])
    figure: Interval = clustered_mean(falls, np.ones(len(falls)))
    passed = figure.low <= threshold and curve[-1]["gold"] >= curve[0]["gold"]
    detail = f"gold {curve[0]['gold']:.3f} at n=1, {curve[-1]['gold']:.3f} at n={last}, highest at n={best}"
    return measured("best_of_n", figure, threshold, passed, advice, detail, bounded=len(whole) > 1)


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
