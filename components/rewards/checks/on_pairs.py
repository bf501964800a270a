"""Checks on held-out preference pairs: are they ordered correctly, by more than length, and with calibrated confidence?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.components.randomness import stream
from ratchet.components.recipe import Slice
from ratchet.components.rewards.checks.check import FEWEST, NO_PAIRS, Check, measured, unmeasured, wins
from ratchet.components.statistics.calibration import Floats, brier_score, expected_calibration_error, negative_log_likelihood
from ratchet.components.statistics.intervals import Interval, cluster_sums, clustered_mean, clustered_share

DRAWS = 200  # of the bootstrap


@dataclass(frozen=True)
class ScoredPairs:
    """Held-out pairs, n, with the judge's scores of both answers; NaN if one could not be judged."""

    pairs: Sequence[Mapping[str, Any]]
    chosen: Floats  # [n]
    rejected: Floats  # [n]

    @property
    def won(self) -> Floats:
        """1 for each pair in the right order, 1/2 on a tie, [n]."""
        return wins(self.chosen, self.rejected)

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
        return clustered_share(*cluster_sums(self.won[kept], [self.pairs[number]["prompt"] for number in kept]))


def pair_accuracy(scored: ScoredPairs, threshold: float) -> Check:
    """Share of held-out pairs ordered correctly (ties count half), clustered by prompt; the lower bound must hold."""
    advice = "Train the reward model longer or on cleaner pairs, or use reward.kind=verifier."
    if not scored.pairs:
        return unmeasured("pair_accuracy", threshold, False, NO_PAIRS, "there are no held-out pairs")
    figure = scored.accuracy(range(len(scored.pairs)))
    return measured("pair_accuracy", figure, threshold, figure.low >= threshold, advice, f"{len(scored.pairs)} pairs")


def length_baseline(scored: ScoredPairs, threshold: float) -> Check:
    """Accuracy minus that of preferring the longer (or the shorter) answer, whichever is better on these pairs."""
    advice = (
        "The reward model has learned no more than length. Train it longer, or add pairs in which length carries no signal."
    )
    if not scored.pairs:
        return unmeasured("length_baseline", threshold, False, NO_PAIRS, "there are no held-out pairs")
    by_length = wins(scored.longer, np.zeros(len(scored.pairs)))
    baseline = by_length if by_length.mean() >= 0.5 else 1 - by_length
    figure = clustered_mean(*cluster_sums(scored.won - baseline, scored.prompts))
    return measured(
        "length_baseline", figure, threshold, figure.low > threshold, advice, f"length alone has {baseline.mean():.3f}"
    )


def short_chosen_accuracy(scored: ScoredPairs, threshold: float) -> Check:
    """Accuracy on the pairs whose chosen answer is the shorter one; the lower bound must be above the threshold."""
    name, advice = "short_chosen_accuracy", "The reward pays for length. Add such pairs, or set reward.model.length_debiased."
    kept = np.flatnonzero(scored.longer < 0).tolist()
    if len(kept) < FEWEST:
        return unmeasured(name, threshold, True, advice, f"only {len(kept)} pairs whose chosen answer is the shorter")
    figure = scored.accuracy(kept)
    return measured(name, figure, threshold, figure.low > threshold, advice, f"{len(kept)} pairs")


def worst_subset(scored: ScoredPairs, subsets: Sequence[Slice], threshold: float) -> Check:
    """Accuracy in the subset where it is lowest, clustered by prompt; its lower bound must be above the threshold."""
    name, advice = "worst_subset", "The reward model fails on a part of its task: add pairs like those, or raise its steps."
    if not subsets:
        return unmeasured(name, threshold, True, advice, "reward.validation.subsets names none")
    figures, few = {}, []
    for subset in subsets:
        kept = [number for number, pair in enumerate(scored.pairs) if subset.includes(pair)]
        if len(kept) < FEWEST:
            few.append(f"{subset.name} has {len(kept)} pairs")
        else:
            figures[subset.name] = scored.accuracy(kept)
    if few:
        return unmeasured(name, threshold, False, f"Add pairs, or remove the subset; {FEWEST} are needed.", ", ".join(few))
    worst = min(figures, key=lambda subset: figures[subset].low)
    return measured(name, figures[worst], threshold, figures[worst].low > threshold, advice, f"worst: {worst}")


def calibration(differences: Floats, threshold: float) -> Check:
    """ECE of sigmoid(r_chosen - r_rejected) with a bootstrap interval over pairs; the figure must be within the threshold.

    Bins contain at least 25 pairs, because nearly empty ones are miscalibrated by chance.
    """
    advice = "The reward model is over- or underconfident. Raise reward.model.calibration_pairs, or train it for fewer steps."
    differences = differences[np.isfinite(differences)]
    if len(differences) < FEWEST:
        return unmeasured("calibration", threshold, False, NO_PAIRS, f"only {len(differences)} pairs")
    bins = max(1, min(10, len(differences) // 25))
    random = stream(0, "calibration_bootstrap")
    drawn = [differences[random.integers(0, len(differences), len(differences))] for _ in range(DRAWS)]
    low, high = np.quantile([expected_calibration_error(d, bins) for d in drawn], [0.025, 0.975])
    value = expected_calibration_error(differences, bins)
    figure = Interval(value, float(low), float(high), len(differences))
    detail = f"Brier {brier_score(differences):.3f}, {negative_log_likelihood(differences):.3f} nats per pair, {bins} bins"
    return measured("calibration", figure, threshold, value <= threshold, advice, detail)
