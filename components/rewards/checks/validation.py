"""Validate a reward before anything is trained against it: a failed check ends the run before a GPU is used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction, checked
from ratchet.components.recipe import RewardValidation
from ratchet.components.rewards.advice.pilot import Pilot
from ratchet.components.rewards.checks import on_pairs, on_samples, on_texts
from ratchet.components.rewards.checks.check import Check, RewardReport, finite, with_waivers
from ratchet.components.rewards.checks.identity import identity_check
from ratchet.components.rewards.checks.on_pairs import ScoredPairs
from ratchet.components.rewards.checks.on_samples import Group
from ratchet.components.rewards.learned.perturbations import LAYOUTS, Style
from ratchet.components.statistics.calibration import reliability
from ratchet.components.statistics.intervals import Floats

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Samples:
    """Completions of the current policy, with the rows they answer; samples of one prompt have equal rows."""

    rows: list[Mapping[str, Any]]
    completions: list[str]
    lengths: list[int] = field(default_factory=list)  # tokens, only for the advice


@dataclass(frozen=True)
class Subject:
    """What is validated.

    Attributes:
        reward: what training will maximise.
        judge: what must order the held-out pairs: the learned model alone, if there is one, so that a verifier next to it
            cannot hide that it learned nothing.
        learned: whether ``judge`` is a model, whose confidence can be calibrated.
        gold: what says which samples are right.
    """

    kind: str
    reward: RewardFunction
    judge: RewardFunction
    learned: bool = False
    identity: Mapping[str, str] = field(default_factory=dict)
    gold: RewardFunction = grade_numbers


def validate_reward(subject: Subject, pairs: Rows, samples: Samples, thresholds: RewardValidation) -> RewardReport:
    """Run every check of docs/rewards.md.

    Args:
        pairs: held-out rows with prompt, answer, chosen, rejected.
    """
    scored = ScoredPairs(pairs, *(totals(subject.judge, pairs, [p[s] for p in pairs]) for s in ("chosen", "rejected")))
    groups = scored_groups(subject.reward, subject.gold, samples, thresholds.repeats)
    judged = [group for group in (g.judged for g in groups) if len(group.gold)]
    checks = [
        identity_check(subject.judge, subject.identity),
        *checks_on_pairs(scored, subject.learned, thresholds),
        *checks_on_texts(subject, scored, judged, thresholds),
        *checks_on_samples(scored, groups, judged, rewordings(subject, judged), thresholds),
    ]
    curves = {"best_of_n": on_samples.best_of_n_curve(judged)}
    if subject.learned and len(known := _finite(scored.chosen - scored.rejected)):
        curves["reliability"] = [b._asdict() for b in reliability(known)]
    pilot = Pilot.measured(judged, samples.lengths).as_json()
    return RewardReport(
        subject.kind, with_waivers([finite(check) for check in checks], thresholds.waive), pilot, curves, subject.identity
    )


def checks_on_pairs(scored: ScoredPairs, learned: bool, thresholds: RewardValidation) -> list[Check]:
    """The checks of the judge on held-out pairs."""
    differences = scored.chosen - scored.rejected
    return [
        on_pairs.pair_accuracy(scored, thresholds.pair_accuracy_lower_bound),
        on_pairs.length_baseline(scored, thresholds.min_gain_over_length),
        on_pairs.short_chosen_accuracy(scored, thresholds.min_short_chosen_accuracy),
        on_pairs.worst_subset(scored, thresholds.subsets, thresholds.min_worst_subset),
        *([on_pairs.calibration(differences, thresholds.max_calibration_error)] if learned else []),
    ]


def checks_on_texts(
    subject: Subject, scored: ScoredPairs, judged: Sequence[Group], thresholds: RewardValidation
) -> list[Check]:
    """The checks of invariance and of hacks. Batching and texts concern the judge; hacks concern what training maximises."""

    def of_judge(rows: Rows, completions: Sequence[str]) -> Floats:
        return totals(subject.judge, rows, completions)

    def of_reward(rows: Rows, completions: Sequence[str]) -> Floats:
        return totals(subject.reward, rows, completions)

    pairs = scored.pairs
    found = on_texts.probe(of_judge, [*pairs, *pairs], [p[side] for side in ("chosen", "rejected") for p in pairs])
    probed = [(group.row, group.values) for group in judged[: on_texts.PROBES]]
    return [
        on_texts.batch_invariance(of_judge, found, thresholds.max_batch_shift),
        on_texts.padding_invariance(of_judge, found, thresholds.max_batch_shift),
        on_texts.text_invariance(of_judge, found, thresholds.max_text_shift),
        on_texts.format_perturbation(of_judge, pairs, scored.won, thresholds.max_format_drop, subject.learned),
        on_texts.hack_strings(of_reward, probed, thresholds.max_hack_percentile),
        on_texts.sycophancy(of_judge, pairs, found.deviation, thresholds.max_sycophancy),
    ]


def rewordings(subject: Subject, judged: Sequence[Group]) -> dict[str, list[Group]]:
    """The first samples as scored by a learned judge in another layout, and by each member of an ensemble."""
    if not subject.learned:
        return {}
    first = judged[: on_texts.PROBES]
    plain = [lambda text: text, *LAYOUTS.values()]
    kinds = {"laid out otherwise": [_scorings(subject.judge, group, plain) for group in first]}
    members = getattr(subject.judge, "members", [])
    if len(members) > 1:
        kinds["members"] = [_stacked(group, [_scorings(m, group, plain[:1]).values for m in members]) for group in first]
    return {name: [group for group in groups if np.isfinite(group.repeats).all()] for name, groups in kinds.items()}


def _scorings(judge: RewardFunction, group: Group, styles: Sequence[Style]) -> Group:
    rows = [group.row] * len(group.completions)
    return _stacked(group, [totals(judge, rows, [style(text) for text in group.completions]) for style in styles])


def _stacked(group: Group, scorings: Sequence[Floats]) -> Group:
    return replace(group, repeats=np.stack(scorings))


def checks_on_samples(
    scored: ScoredPairs,
    groups: Sequence[Group],
    judged: Sequence[Group],
    others: Mapping[str, Sequence[Group]],
    thresholds: RewardValidation,
) -> list[Check]:
    """The checks of the reward on samples of the current policy."""
    values = np.concatenate([group.repeats.ravel() for group in groups]) if groups else np.zeros(0)
    first = np.concatenate([group.values for group in judged]) if judged else np.zeros(0)
    gold = np.concatenate([group.gold for group in judged]) if judged else np.zeros(0)
    lengths = np.array([len(text) for group in judged for text in group.completions], float)
    return [
        on_samples.finiteness(np.concatenate([scored.chosen, scored.rejected, values])),
        on_samples.value_range(first),
        on_samples.length_correlation(first, lengths, gold, thresholds.max_length_correlation),
        on_samples.agreement(judged, thresholds.min_agreement),
        on_samples.silent_groups(judged, thresholds.max_silent_groups),
        on_samples.noise(judged, thresholds.min_signal_share, others),
        on_samples.best_of_n_fall(judged, thresholds.max_best_of_n_fall),
    ]


def scored_groups(reward: RewardFunction, judge: RewardFunction, samples: Samples, repeats: int) -> list[Group]:
    """The samples by prompt, each scored ``repeats`` times by the reward and once by the gold."""
    scores = np.stack([totals(reward, samples.rows, samples.completions) for _ in range(repeats)])
    gold = totals(judge, samples.rows, samples.completions)
    places: dict[str, list[int]] = {}
    for number, row in enumerate(samples.rows):
        places.setdefault(row["prompt"], []).append(number)
    return [Group(samples.rows[p[0]], [samples.completions[i] for i in p], scores[:, p], gold[p]) for p in places.values()]


def totals(function: RewardFunction, rows: Rows, completions: Sequence[str]) -> Floats:
    """Totals, with NaN for completions that could not be judged or whose total is not finite: the checks count those."""
    scores: list[Grade] = function([row["prompt"] for row in rows], completions, rows) if rows else []
    checked([Grade(None, {}) for _ in scores], len(rows), "the reward")
    values = [grade.score for grade in scores]
    return np.array([float(v) if isinstance(v, (int, float)) and math.isfinite(v) else math.nan for v in values])


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
