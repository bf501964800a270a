"""Checks of the gold itself: references are right, planted wrong answers wrong, and the same answer gets the same grade.

Where every row is graded a share is exact; otherwise the safe end of its interval counts.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.components.graders.protocol import Grade, RewardFunction, is_right, score_rows
from ratchet.components.recipe import GoldValidation
from ratchet.components.rewards.checks.check import Check, at_least, at_most, exact, failed, unmeasured
from ratchet.components.rewards.checks.wrong_answers import MASTER_STRINGS, changed, echo, empty, majority, swapped
from ratchet.components.statistics.intervals import Floats, Interval, clustered_share, share_interval

Rows = Sequence[Mapping[str, Any]]
Plant = Callable[[Rows], list[str | None]]  # a wrong answer to each row; None where there is none
MASTER_ROWS = 100  # rows to which each master string is given
LISTED = 10
MASTERS = "a text that says nothing"

MORE = "or give more rows with references."
REFERENCES = "The gold does not accept these references: correct the rows, or the grader's way of reading them."
PLANTED = "The gold takes wrong answers for right ones: make the grader stricter."
STABLE = "The gold gives one answer different grades: remove what is random, or depends on earlier calls, from the grader."
FAULTS = "The grader fails on answers: run `ratchet grader show`, and correct what the reasons say."
SIGNAL = "Choose prompts of medium difficulty, another policy, or a grader that is neither so strict nor so lenient."


def gold_checks(
    gold: RewardFunction, again: RewardFunction, rows: Rows, sampled: Sequence[Floats], wanted: GoldValidation
) -> list[Check]:
    """Judge a gold by rows with references and by the policy's samples.

    Args:
        again: the same gold, in another process where it runs code of the user.
        rows: of train and dev; those without an answer do not count.
        sampled: the gold's scores of the starting policy's samples, one array per prompt; NaN if one could not be judged.
    """
    given = [row for row in rows if row.get("answer") is not None]
    graded = spread(given, wanted.rows)
    whole = len(graded) == len(given)
    references = [str(row["answer"]) for row in graded]
    grades = score_rows(gold, graded, references)
    plants = {name: _grades(gold, graded, plant) for name, plant in PLANTS.items()} | {MASTERS: _masters(gold, graded)}
    return [
        _references(graded, grades, wanted.min_references, whole),
        _planted(plants, wanted.max_planted, whole),
        _stable(again, graded, references, grades),
        _faults([*grades, *(grade for found in plants.values() for grade in found)], wanted.max_faults),
        _signal(sampled, wanted.min_pass_rate, wanted.max_pass_rate),
    ]


PLANTS: dict[str, Plant] = {
    "the empty answer": empty,
    "the prompt repeated": echo,
    "another row's reference": swapped,
    "the commonest reference": majority,
    "the reference with one thing changed": changed,
}


def spread(rows: Rows, budget: int) -> list[Mapping[str, Any]]:
    """At most ``budget`` rows, at even distances."""
    if not rows:
        return []
    places = np.unique(np.linspace(0, len(rows) - 1, min(budget, len(rows))).astype(int)).tolist()
    return [rows[place] for place in places]


def _grades(gold: RewardFunction, rows: Rows, plant: Plant) -> list[Grade]:
    pairs = [(row, text) for row, text in zip(rows, plant(rows), strict=True) if text is not None]
    return score_rows(gold, [row for row, _ in pairs], [text for _, text in pairs]) if pairs else []


def _masters(gold: RewardFunction, rows: Rows) -> list[Grade]:
    few = spread([row for row in rows if str(row["answer"]).strip() not in MASTER_STRINGS], MASTER_ROWS)
    each = [(row, text) for row in few for text in MASTER_STRINGS]
    return score_rows(gold, [row for row, _ in each], [text for _, text in each]) if each else []


def _share(grades: Sequence[Grade]) -> Interval:
    return share_interval(sum(map(is_right, grades)), len(grades))


def _references(rows: Rows, grades: Sequence[Grade], threshold: float, whole: bool) -> Check:
    name = "gold_references"
    if not grades:
        return unmeasured(name, threshold, REFERENCES, "no row has a reference")
    broken = [row["id"] for row, grade in zip(rows, grades, strict=True) if not is_right(grade)]
    listed = f"; not of {', '.join(broken[:LISTED])}{' ...' if len(broken) > LISTED else ''}" if broken else ""
    figure, detail = _share(grades), f"of {len(grades)} rows{listed}"
    if whole:
        return exact(name, figure.value, threshold, figure.value >= threshold, REFERENCES, detail)
    return at_least(name, figure, threshold, REFERENCES, detail, MORE)


def _planted(plants: Mapping[str, Sequence[Grade]], threshold: float, whole: bool) -> Check:
    """The kind of wrong answer that most often counts as right; the detail has the share of all that were caught."""
    name, found = "gold_planted", {plant: _share(grades) for plant, grades in plants.items() if grades}
    if not found:
        return unmeasured(name, threshold, PLANTED, "no row has a reference")
    worst = max(found, key=lambda plant: found[plant].value)
    detail = f"worst: {worst}; mutation score {mutation_score(plants):.3f} of {sum(one.n for one in found.values())}"
    if whole:
        return exact(name, found[worst].value, threshold, found[worst].value <= threshold, PLANTED, detail)
    return at_most(name, found[worst], threshold, PLANTED, detail, MORE)


def _stable(again: RewardFunction, rows: Rows, texts: Sequence[str], before: Sequence[Grade]) -> Check:
    """Whether the same answers get the same grades, in reverse order and by another process."""
    if not rows:
        return unmeasured("gold_stable", 0.0, STABLE, "no row has a reference")
    after = score_rows(again, rows[::-1], texts[::-1])[::-1]
    moved = sum((one.score, one.passed) != (other.score, other.passed) for one, other in zip(before, after, strict=True))
    return exact(
        "gold_stable", moved / len(rows), 0.0, moved == 0, STABLE, f"{len(rows)} answers, graded again in reverse order"
    )


def _faults(grades: Sequence[Grade], threshold: float) -> Check:
    kinds = Counter(grade.fault for grade in grades if grade.fault is not None)
    if not grades:
        return unmeasured("gold_faults", threshold, FAULTS, "nothing was graded")
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    return at_most("gold_faults", share_interval(kinds.total(), len(grades)), threshold, FAULTS, told, MORE)


def _signal(sampled: Sequence[Floats], low: float, high: float) -> Check:
    """Whether the starting policy is sometimes right and sometimes wrong; clustered by prompt."""
    name, counts = "gold_signal", np.array([float(np.isfinite(scores).sum()) for scores in sampled])
    if not counts.sum():
        return failed(name, low, SIGNAL, "no sample could be judged")
    figure = clustered_share(np.array([float(np.nansum(scores)) for scores in sampled]), counts)
    detail = f"of {counts.sum():.0f} samples"
    if figure.value > 0.5:
        return at_most(name, figure, high, f"There is nothing to gain. {SIGNAL}", detail, MORE)
    return at_least(name, figure, low, f"There is no signal. {SIGNAL}", detail, MORE)


def mutation_score(plants: Mapping[str, Sequence[Grade]]) -> float:
    """The share of planted wrong answers that the gold caught."""
    grades = [grade for found in plants.values() for grade in found]
    return sum(not is_right(grade) for grade in grades) / len(grades)
