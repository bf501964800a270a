"""Validate a reward before anything is trained against it: a failed check ends the run before a GPU is used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from components.recipe import RewardValidation
from components.rewards.protocol import RewardFunction, Score, checked
from components.rewards.verifier import verify


@dataclass(frozen=True)
class Check:
    """One figure against its threshold, and what to do about a failure."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float
    passed: bool
    advice: str


@dataclass(frozen=True)
class RewardReport:
    """What a reward showed; it passes only if every check does."""

    kind: str
    checks: list[Check]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "passed": self.passed, "checks": [asdict(check) for check in self.checks]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RewardReport":
        return cls(value["kind"], [Check(**check) for check in value["checks"]])


@dataclass(frozen=True)
class Samples:
    """Completions of the current policy, with the rows they answer."""

    rows: list[Mapping[str, Any]]
    completions: list[str]


def validate_reward(
    kind: str,
    reward: RewardFunction,
    pair_judge: RewardFunction,
    pairs: Sequence[Mapping[str, Any]],
    samples: Samples,
    thresholds: RewardValidation,
) -> RewardReport:
    """Run every check.

    Args:
        reward: what training will maximise; measured on samples of the current policy.
        pair_judge: what must order the held-out pairs; the learned model alone where there is one, so that a verifier
            beside it cannot hide that it learned nothing.
        pairs: held-out rows with prompt, answer, chosen, rejected.
    """
    chosen = _totals(pair_judge, pairs, [p["chosen"] for p in pairs])
    rejected = _totals(pair_judge, pairs, [p["rejected"] for p in pairs])
    on_samples = _totals(reward, samples.rows, samples.completions)
    gold = [s.total or 0.0 for s in verify([], samples.completions, samples.rows)]
    lengths = [len(completion) for completion in samples.completions]
    return RewardReport(
        kind,
        [
            pair_accuracy(chosen, rejected, thresholds.pair_accuracy_lower_bound),
            finiteness([*chosen, *rejected, *on_samples]),
            value_range(on_samples),
            length_correlation(on_samples, lengths, gold, thresholds.max_length_correlation),
            agreement(on_samples, gold, thresholds.min_agreement),
        ],
    )


def _totals(function: RewardFunction, rows: Sequence[Mapping[str, Any]], completions: Sequence[str]) -> list[float]:
    """Totals, with NaN for what could not be judged or is not a finite number: the checks count those."""
    scores: list[Score] = function([row["prompt"] for row in rows], completions, rows) if rows else []
    checked([Score(None, {}) for _ in scores], len(rows), "the reward")
    values = [score.total for score in scores]
    return [float(v) if isinstance(v, (int, float)) and math.isfinite(v) else math.nan for v in values]


def pair_accuracy(chosen: Sequence[float], rejected: Sequence[float], threshold: float) -> Check:
    """Share of held-out pairs ordered rightly (ties count half), with Wilson's 95% interval; the lower bound must hold."""
    advice = "Train the reward model longer or on cleaner pairs, or use reward.kind=verifier."
    n = len(chosen)
    if n == 0:
        return Check(
            "pair_accuracy", None, None, None, threshold, False, "There are no held-out pairs; raise data.split.pairs."
        )
    wins = sum(1.0 if c > r else 0.5 if c == r else 0.0 for c, r in zip(chosen, rejected, strict=True))
    interval = stats.binomtest(round(wins), n).proportion_ci(0.95, method="wilson")
    return Check(
        "pair_accuracy",
        wins / n,
        float(interval.low),
        float(interval.high),
        threshold,
        bool(interval.low >= threshold),
        advice,
    )


def finiteness(values: Sequence[float]) -> Check:
    """Share of finite rewards; all must be."""
    share = float(np.isfinite(values).mean()) if values else 0.0
    advice = "The reward gave NaN, infinity or nothing; find the completion it fails on and mend the reward."
    return Check("finiteness", share, None, None, 1.0, share == 1.0, advice)


def value_range(values: Sequence[float]) -> Check:
    """Highest minus lowest reward on samples; a constant reward teaches nothing."""
    finite = [v for v in values if math.isfinite(v)]
    spread = max(finite) - min(finite) if finite else 0.0
    return Check("range", spread, None, None, 0.0, spread > 0, "The reward is constant on the policy's samples; use another.")


def length_correlation(values: Sequence[float], lengths: Sequence[int], gold: Sequence[float], threshold: float) -> Check:
    """|Spearman| of reward and length among answers that are equally right, so that honest length effects do not count."""
    correlations = []
    for verdict in set(gold):
        kept = [i for i in range(len(values)) if gold[i] == verdict and math.isfinite(values[i])]
        mine, theirs = [values[i] for i in kept], [lengths[i] for i in kept]
        if len(kept) >= 10 and len(set(mine)) > 1 and len(set(theirs)) > 1:
            correlations.append((len(kept), float(stats.spearmanr(mine, theirs).statistic)))
    total = sum(n for n, _ in correlations)
    value = abs(sum(n * c for n, c in correlations) / total) if total else 0.0
    advice = "The reward pays for length; add pairs whose chosen answer is the shorter one."
    return Check("length_correlation", value, None, None, threshold, value <= threshold, advice)


def agreement(values: Sequence[float], gold: Sequence[float], threshold: float) -> Check:
    """AUC of the reward against the verifier on samples of the current policy: P(right is scored above wrong)."""
    advice = "The reward does not separate right from wrong answers of this policy; retrain it on this policy's samples."
    right = [v for v, g in zip(values, gold, strict=True) if g > 0 and math.isfinite(v)]
    wrong = [v for v, g in zip(values, gold, strict=True) if g == 0 and math.isfinite(v)]
    if not right or not wrong:
        advice = "The current policy's samples are all right or all wrong; there is nothing to learn from a reward on them."
        return Check("agreement", None, None, None, threshold, False, advice)
    area = float(stats.mannwhitneyu(right, wrong).statistic) / (len(right) * len(wrong))
    return Check("agreement", area, None, None, threshold, area >= threshold, advice)
