"""Validate a reward before anything is trained against it: a failed check ends the run before a GPU is used."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ratchet.components.graders.number import grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction, checked, is_read
from ratchet.components.recipe import GoldValidation, RewardValidation
from ratchet.components.rewards.advice.pilot import Pilot
from ratchet.components.rewards.checks import on_pairs, on_samples, on_texts
from ratchet.components.rewards.checks.check import Check, RewardReport, finite, with_waivers
from ratchet.components.rewards.checks.identity import identity_check
from ratchet.components.rewards.checks.on_gold import gold_parsed, gold_signal
from ratchet.components.rewards.checks.on_pairs import ScoredPairs
from ratchet.components.rewards.checks.on_samples import Group
from ratchet.components.rewards.learned.perturbations import LAYOUTS, Style
from ratchet.components.statistics.calibration import reliability
from ratchet.components.statistics.intervals import Floats
from ratchet.components.statistics.spending import bonferroni

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Samples:
    """Completions of the current policy, with the rows they answer; samples of one prompt have equal rows."""

    rows: list[Mapping[str, Any]]
    completions: list[str]
    lengths: list[int] = field(default_factory=list)  # tokens, only for the advice

    def followed_by(self, more: "Samples") -> "Samples":
        return Samples(self.rows + more.rows, self.completions + more.completions, self.lengths + more.lengths)


class GoldTest(NamedTuple):
    """What was found of the gold before the starting policy was made, and the thresholds for its samples."""

    checks: Sequence[Check]
    mutation_score: float | None
    reads_answers: bool
    wanted: GoldValidation


@dataclass(frozen=True)
class Subject:
    """What is validated.

    Attributes:
        reward: what training will maximise.
        judge: what must order the held-out pairs: the learned model alone, if there is one, so that a verifier next to it
            cannot hide that it learned nothing.
        learned: whether ``judge`` is a model, whose confidence can be calibrated.
        gold: what says which samples are right.
        tested: what was found of the gold itself; None leaves it out.
    """

    kind: str
    reward: RewardFunction
    judge: RewardFunction
    learned: bool = False
    identity: Mapping[str, str] = field(default_factory=dict)
    gold: RewardFunction = grade_numbers
    tested: GoldTest | None = None


Draw = Callable[[int, int], Samples]  # samples of the prompts from one place to another; fewer where the prompts end


def validate_reward(subject: Subject, pairs: Rows, draw: Draw, wanted: RewardValidation) -> RewardReport:
    """Run every check of docs/rewards.md, with twice as many prompts each time until all are decided or the budget is spent.

    A check whose true figure is beyond its threshold passes with probability at most ``wanted.error``: each of the
    ``wanted.rounds`` looks has an equal part of it (Bonferroni), so the level of the intervals is 1 - 2 error / rounds.

    Args:
        pairs: held-out rows with prompt, answer, chosen, rejected; the first ``wanted.pairs`` are used.
    """
    level = 1 - 2 * bonferroni(wanted.error, wanted.rounds)
    pairs = pairs[: wanted.pairs]
    chosen, rejected = (totals(subject.judge, pairs, [pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    scored = ScoredPairs(pairs, chosen, rejected, level)
    of_pairs = checks_on_pairs(subject, scored, wanted)
    samples, drawn = Samples([], []), 0
    for look in range(wanted.rounds):
        more = draw(drawn, wanted.samples * 2**look)
        samples, drawn = samples.followed_by(more), wanted.samples * 2**look
        groups = scored_groups(subject.reward, subject.gold, samples, wanted.repeats)
        judged = [group for group in (g.judged for g in groups) if len(group.gold)]
        of_policy = [] if subject.tested is None else checks_of_policy(subject.tested, groups)
        of_samples = with_waivers([*of_policy, *checks_on_samples(subject, scored, groups, judged, wanted)], wanted.waive)
        if not more.rows or not any(check.undecided and check.blocks for check in of_samples):
            break
    of_gold = [] if subject.tested is None else subject.tested.checks
    checks = with_waivers([finite(check) for check in (*of_gold, *of_pairs, *of_samples)], wanted.waive)
    curves = {"best_of_n": on_samples.best_of_n_curve(judged)}
    if subject.learned and len(known := _finite(scored.chosen - scored.rejected)):
        curves["reliability"] = [b._asdict() for b in reliability(known)]
    pilot = Pilot.measured(judged, samples.lengths).as_json()
    score = subject.tested.mutation_score if subject.tested is not None else None
    return RewardReport(subject.kind, checks, pilot, curves, subject.identity, score)


def checks_of_policy(tested: GoldTest, groups: Sequence[Group]) -> list[Check]:
    """Whether the gold can read the policy's samples, and tells some of them from others."""
    read = [group.read for group in groups if group.read is not None]
    parsed = gold_parsed(read, tested.reads_answers, tested.wanted)
    return [parsed, gold_signal([group.gold for group in groups], tested.wanted)]


def checks_on_pairs(subject: Subject, scored: ScoredPairs, wanted: RewardValidation) -> list[Check]:
    """The checks of the judge: its files, its order of held-out pairs, and what batching and texts do to its scores."""

    def of_judge(rows: Rows, completions: Sequence[str]) -> Floats:
        return totals(subject.judge, rows, completions)

    def of_gold(rows: Rows, completions: Sequence[str]) -> Floats:
        return totals(subject.gold, rows, completions)

    pairs = scored.pairs
    found = on_texts.probe(of_judge, [*pairs, *pairs], [p[side] for side in ("chosen", "rejected") for p in pairs])
    return [
        identity_check(subject.judge, subject.identity),
        on_pairs.pair_accuracy(scored, wanted.pair_accuracy_lower_bound),
        on_pairs.length_baseline(scored, wanted.min_gain_over_length),
        on_pairs.short_chosen_accuracy(scored, wanted.min_short_chosen_accuracy),
        on_pairs.worst_subset(scored, wanted.subsets, wanted.min_worst_subset),
        on_pairs.calibration(scored, wanted.max_calibration_error, subject.learned),
        on_texts.batch_invariance(of_judge, found, wanted.max_batch_shift),
        on_texts.padding_invariance(of_judge, found, wanted.max_batch_shift),
        on_texts.text_invariance(of_judge, scored, wanted.max_text_shift),
        on_texts.format_perturbation(of_judge, scored, wanted.max_format_drop, subject.learned, of_gold),
        on_texts.sycophancy(of_judge, scored, wanted.max_sycophancy),
    ]


def rewordings(subject: Subject, probed: Sequence[Group]) -> dict[str, list[Group]]:
    """The samples as scored by a learned judge in another layout, and by each member of an ensemble."""
    if not subject.learned:
        return {}
    plain = [lambda text: text, *LAYOUTS.values()]
    kinds = {"laid out otherwise": [_scorings(subject.judge, group, plain) for group in probed]}
    members = getattr(subject.judge, "members", [])
    if len(members) > 1:
        kinds["members"] = [_stacked(group, [_scorings(m, group, plain[:1]).values for m in members]) for group in probed]
    return {name: [group for group in groups if np.isfinite(group.repeats).all()] for name, groups in kinds.items()}


def _scorings(judge: RewardFunction, group: Group, styles: Sequence[Style]) -> Group:
    rows = [group.row] * len(group.completions)
    return _stacked(group, [totals(judge, rows, [style(text) for text in group.completions]) for style in styles])


def _stacked(group: Group, scorings: Sequence[Floats]) -> Group:
    return replace(group, repeats=np.stack(scorings))


def checks_on_samples(
    subject: Subject, scored: ScoredPairs, groups: Sequence[Group], judged: Sequence[Group], wanted: RewardValidation
) -> list[Check]:
    """The checks of the reward on samples of the current policy; those that score more texts use a part of the prompts."""

    def of_reward(rows: Rows, completions: Sequence[str]) -> Floats:
        return totals(subject.reward, rows, completions)

    values = np.concatenate([group.repeats.ravel() for group in groups]) if groups else np.zeros(0)
    first = np.concatenate([group.values for group in judged]) if judged else np.zeros(0)
    probed, level = judged[: max(on_texts.PROBES, len(judged) // 4)], scored.level
    return [
        on_texts.hack_strings(of_reward, [(g.row, g.values) for g in probed], wanted.max_hack_percentile, level),
        on_samples.finiteness(np.concatenate([scored.chosen, scored.rejected, values])),
        on_samples.value_range(first),
        on_samples.length_correlation(judged, wanted.max_length_correlation, level),
        on_samples.agreement(judged, wanted.min_agreement, level),
        on_samples.silent_groups(judged, wanted.max_silent_groups, level),
        on_samples.noise(judged, wanted.min_signal_share, level, rewordings(subject, probed)),
        on_samples.best_of_n_fall(judged, wanted.max_best_of_n_fall, level),
    ]


def scored_groups(reward: RewardFunction, judge: RewardFunction, samples: Samples, repeats: int) -> list[Group]:
    """The samples by prompt, each scored ``repeats`` times by the reward and once by the gold."""
    scores = np.stack([totals(reward, samples.rows, samples.completions) for _ in range(repeats)])
    judged = _grades(judge, samples.rows, samples.completions)
    gold = _scores(judged)
    read = np.where(np.isfinite(gold), [float(is_read(grade)) for grade in judged], math.nan)
    places: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(samples.rows):
        places.setdefault((row["prompt"], row.get("id", "")), []).append(number)  # rows may ask alike and be judged differently
    return [
        Group(samples.rows[p[0]], [samples.completions[i] for i in p], scores[:, p], gold[p], read[p]) for p in places.values()
    ]


def totals(function: RewardFunction, rows: Rows, completions: Sequence[str]) -> Floats:
    """Totals, with NaN for completions that could not be judged or whose total is not finite: the checks count those."""
    return _scores(_grades(function, rows, completions))


def _grades(function: RewardFunction, rows: Rows, completions: Sequence[str]) -> list[Grade]:
    grades: list[Grade] = function([row["prompt"] for row in rows], completions, rows) if rows else []
    checked([Grade(None, {}) for _ in grades], len(rows), "the reward")
    return grades


def _scores(grades: Sequence[Grade]) -> Floats:
    values = [grade.score for grade in grades]
    return np.array([float(v) if isinstance(v, (int, float)) and math.isfinite(v) else math.nan for v in values])


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
