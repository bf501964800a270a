"""Checks on held-out preference pairs: are they ordered correctly, by more than length, and with calibrated confidence?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.components.randomness import stream
from ratchet.components.recipe import Slice
from ratchet.components.rewards.checks.check import (
    FEWEST,
    NO_PAIRS,
    PAIRS,
    Check,
    at_least,
    at_most,
    exact,
    failed,
    unmeasured,
    wins,
)
from ratchet.components.statistics.calibration import Floats, brier_score, expected_calibration_error, negative_log_likelihood
from ratchet.components.statistics.intervals import (
    Integers,
    Interval,
    bootstrap_bounds,
    cluster_sums,
    clustered_mean,
    clustered_share,
)


@dataclass(frozen=True)
class ScoredPairs:
    """Held-out pairs, n, with the judge's scores of both answers; NaN if one could not be judged."""

    pairs: Sequence[Mapping[str, Any]]
    chosen: Floats  # [n]
    rejected: Floats  # [n]
    level: float = 0.95  # of every interval

    @property
    def won(self) -> Floats:
        """1 for each pair in the right order, 1/2 on a tie, [n]."""
        return wins(self.chosen, self.rejected)

    @property
    def deviation(self) -> float:
        """Standard deviation of the scores, the unit of shifts; 1 if they do not vary."""
        scores = np.concatenate([self.chosen, self.rejected])
        known = scores[np.isfinite(scores)]
        return float(known.std()) or 1.0 if len(known) else 1.0

    @property
    def prompts(self) -> list[str]:
        """The clusters of every interval."""
        return [pair["prompt"] for pair in self.pairs]

    @property
    def longer(self) -> Floats:
        """How many characters longer the chosen answer is, [n]."""
        return np.array([len(pair["chosen"]) - len(pair["rejected"]) for pair in self.pairs], float)

    def accuracy(self, kept: Sequence[int]) -> Interval:
        """Share of the given pairs in the right order, clustered by prompt."""
        sums = cluster_sums(self.won[kept], [self.pairs[number]["prompt"] for number in kept])
        return clustered_share(*sums, self.level)


def pair_accuracy(scored: ScoredPairs, threshold: float) -> Check:
    """Share of held-out pairs ordered correctly (ties count half), clustered by prompt."""
    advice = "Train the reward model longer or on cleaner pairs, or use reward.kind=verifier."
    if not scored.pairs:
        return failed("pair_accuracy", threshold, NO_PAIRS, "there are no held-out pairs")
    figure = scored.accuracy(range(len(scored.pairs)))
    return at_least("pair_accuracy", figure, threshold, advice, f"{len(scored.pairs)} pairs", PAIRS)


def length_baseline(scored: ScoredPairs, threshold: float) -> Check:
    """Accuracy minus that of preferring the longer (or the shorter) answer, whichever is better on these pairs."""
    name, advice = (
        "length_baseline",
        "The reward model has learned no more than length. Train it longer, or add pairs in which length carries no signal.",
    )
    if not scored.pairs:
        return failed(name, threshold, NO_PAIRS, "there are no held-out pairs")
    by_length = wins(scored.longer, np.zeros(len(scored.pairs)))
    baseline = by_length if by_length.mean() >= 0.5 else 1 - by_length
    detail = f"length alone has {baseline.mean():.3f}"
    if np.array_equal(scored.won, baseline):  # no spread, so no interval: it is length, pair for pair
        return exact(name, 0.0, threshold, threshold < 0, advice, detail)
    figure = clustered_mean(*cluster_sums(scored.won - baseline, scored.prompts), scored.level)
    return at_least(name, figure, threshold, advice, detail, PAIRS)


def short_chosen_accuracy(scored: ScoredPairs, threshold: float) -> Check:
    """Accuracy on the pairs whose chosen answer is the shorter one."""
    name, advice = "short_chosen_accuracy", "The reward pays for length. Add such pairs, or set reward.model.length_debiased."
    kept = np.flatnonzero(scored.longer < 0).tolist()
    if len(kept) < FEWEST:
        return unmeasured(name, threshold, advice, f"only {len(kept)} pairs whose chosen answer is the shorter")
    return at_least(name, scored.accuracy(kept), threshold, advice, f"{len(kept)} pairs", PAIRS)


def worst_subset(scored: ScoredPairs, subsets: Sequence[Slice], threshold: float) -> Check:
    """Accuracy in the subset where its lower bound is lowest, clustered by prompt: every subset must pass."""
    name, advice = "worst_subset", "The reward model fails on a part of its task: add pairs like those, or raise its steps."
    if not subsets:
        return unmeasured(name, threshold, advice, "reward.validation.subsets names none")
    figures, few = {}, []
    for subset in subsets:
        kept = [number for number, pair in enumerate(scored.pairs) if subset.includes(pair)]
        if len(kept) < FEWEST:
            few.append(f"{subset.name} has {len(kept)} pairs")
        else:
            figures[subset.name] = scored.accuracy(kept)
    if few:
        return failed(name, threshold, f"Add pairs, or remove the subset; {FEWEST} are needed.", ", ".join(few))
    worst = min(figures, key=lambda subset: figures[subset].low)
    return at_least(name, figures[worst], threshold, advice, f"worst: {worst}", PAIRS)


def calibration(scored: ScoredPairs, threshold: float, learned: bool) -> Check:
    """ECE of sigmoid(r_chosen - r_rejected), with a bootstrap interval over prompts.

    Bins contain at least 25 pairs, because nearly empty ones are miscalibrated by chance.
    """
    advice = "The reward model is over- or underconfident. Raise reward.model.calibration_pairs, or train it for fewer steps."
    if not learned:
        return unmeasured("calibration", threshold, advice, "the judge is not a learned model, whose scores are confidences")
    known = np.flatnonzero(np.isfinite(scored.chosen - scored.rejected))
    if len(known) < FEWEST:
        return failed("calibration", threshold, NO_PAIRS, f"only {len(known)} pairs")
    differences = (scored.chosen - scored.rejected)[known]
    bins = max(1, min(10, len(differences) // 25))
    members = _members([scored.prompts[i] for i in known])

    def error(drawn: Integers) -> float:
        return expected_calibration_error(differences[np.concatenate([members[c] for c in drawn])], bins)

    value = expected_calibration_error(differences, bins)
    low, high = bootstrap_bounds(error, value, len(members), scored.level, stream(0, "calibration_bootstrap"))
    figure = Interval(value, max(0.0, low), high, len(members))
    detail = f"Brier {brier_score(differences):.3f}, {negative_log_likelihood(differences):.3f} nats per pair, {bins} bins"
    return at_most("calibration", figure, threshold, advice, detail, PAIRS)


def _members(prompts: Sequence[str]) -> list[list[int]]:
    """The places of each prompt."""
    places: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    return list(places.values())
