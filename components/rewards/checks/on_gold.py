"""Checks of the gold itself: references are right, planted wrong answers wrong, and the same answer gets the same grade.

Where every row is graded a share is exact; otherwise the safe end of its interval counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ratchet.components.graders.protocol import Grade, RewardFunction, is_read, is_right, score_rows
from ratchet.components.recipe import GoldValidation
from ratchet.components.rewards.checks.check import PROMPTS, Check, at_least, at_most, exact, failed, unmeasured
from ratchet.components.rewards.checks.planted.kinds import Kind
from ratchet.components.rewards.checks.planted.texts import MASTER_STRINGS, Case, says
from ratchet.components.statistics.intervals import Floats, Interval, clustered_share, share_interval

Rows = Sequence[Mapping[str, Any]]
Asked = tuple[Case, str]  # a row and a completion
MASTER_ROWS = 100  # rows to which each master string is given
PROBED_ROWS, PROBED_WRONG = 32, 2  # rows, and wrong answers of each beside its reference, that are graded in several ways
LISTED = 10
SHOWN = 60  # characters of a wrong answer
MASTERS = "a text that says nothing"

MORE = "or give more rows with references."
REFERENCES = "The gold does not accept these references: correct the rows, or the grader's way of reading them."
UNSCORED = "The gold gives no reference a score, so that none is right: make the grader return a number for each."
PLANTED = "The gold takes wrong answers for right ones: make the grader stricter."
UNJUDGED = "The gold gives no planted wrong answer a score: make the grader judge wrong answers too, also empty ones."
STABLE = "The gold gives one answer different grades: remove what is random, or depends on earlier calls, from the grader."
ALONE = (
    "The gold's grade of a completion depends on the others in its call, so that no figure means the same twice. Grade each "
    "completion by itself; such a function can be a reward."
)
FAULTS = "The grader fails on answers: run `ratchet grader show`, and correct what the reasons say."
UNREAD = (
    "The grader finds no answer in these samples: ask for the form in the prompt, warm the policy up on demonstrations, or use "
    "a grader that reads more forms."
)
EASY = "Choose harder prompts, a stricter grader, or a warm-up that ends earlier (policy.warmup.until)."
SIGNAL = "Choose prompts of medium difficulty, another policy, or a grader that is neither so strict nor so lenient."


class Broken(NamedTuple):
    """A row whose reference the gold does not accept."""

    row: str  # its id
    reason: str


class Missed(NamedTuple):
    """A planted wrong answer that counts as right."""

    row: str
    plant: str  # its kind
    completion: str


@dataclass(frozen=True)
class Asking:
    """A gold and what it is judged by.

    Attributes:
        gold: with failures counted.
        again: the same gold, in another process where it runs code of the user.
        kind: how its references are read, and which wrong answers it must notice.
        wanted: the thresholds.
        by_rule: whether it is a rule of ours, which is cheap: it then grades the references of all rows.
        needs_all: whether every row must have a reference that it can use, as of a fixed set of labels.
    """

    gold: RewardFunction
    again: RewardFunction
    kind: Kind
    wanted: GoldValidation
    by_rule: bool = False
    needs_all: bool = False

    def grades(self, asked: Sequence[Asked]) -> list[Grade]:
        return _graded(self.gold, asked)


@dataclass(frozen=True)
class Found:
    """What was found of a gold: its checks, the rows with a broken reference, and the wrong answers that it did not catch."""

    checks: list[Check]
    broken: list[Broken]
    missed: list[Missed]
    planted: int  # wrong answers that the gold judged
    reads_answers: bool  # whether the grades of references name the answer that was read

    @property
    def mutation_score(self) -> float | None:
        """The share of planted wrong answers that the gold caught, of those that it judged; None if there are none."""
        return 1 - len(self.missed) / self.planted if self.planted else None


def gold_checks(asking: Asking, rows: Rows) -> Found:
    """Judge a gold by rows with references, before anything is trained.

    Args:
        rows: of train and dev; those without a reference do not count.
    """
    cases = [case for row in rows if (case := asking.kind.case(row)) is not None]
    few = spread(cases, asking.wanted.rows)
    graded = [*cases, *_without_reference(asking, rows)] if asking.by_rule else few
    references = [(case, case.reference) for case in graded]
    grades = asking.grades(references)
    broken = [Broken(c.row["id"], g.reason) for c, g in zip(graded, grades, strict=True) if not is_right(g)]
    asked = planted(asking.kind, few)
    plants = {name: asking.grades(pairs) for name, pairs in asked.items()}
    probed = _probe(few, asked)
    base = asking.grades(probed)
    missed = [Missed(case.row["id"], name, text) for name in asked for case, text in _taken(asked[name], plants[name])]
    answers = [grade for found in plants.values() for grade in found]
    checks = [
        _references(asking, grades, broken, len(graded) >= len(cases)),
        _planted(plants, missed, asking.wanted.max_planted, len(few) == len(cases)),
        _stable(asking, references, grades, probed, base),
        _alone(asking, probed, base),
        _faults([*grades, *answers], asking.wanted.max_faults),
    ]
    return Found(checks, broken, missed, len(_judged(answers)), any(map(is_read, grades)))


def _taken(asked: Sequence[Asked], grades: Sequence[Grade]) -> list[Asked]:
    return [one for one, grade in zip(asked, grades, strict=True) if grade.score is not None and is_right(grade)]


def _judged(grades: Sequence[Grade]) -> list[Grade]:
    """Those with a score: an answer that the gold declines to judge is not caught."""
    return [grade for grade in grades if grade.score is not None]


def _without_reference(asking: Asking, rows: Rows) -> list[Case]:
    """Of a grader with a key ``reference`` the rows where it leads to nothing; others leave rows without an answer out."""
    return [Case(row, "", "") for row in rows if asking.kind.value(row) is None] if asking.kind.keyed else []


def planted(kind: Kind, cases: Sequence[Case]) -> dict[str, list[Asked]]:
    """The planted wrong answers, by name; those that are right by chance are left out."""
    made: dict[str, list[tuple[Case, str | None]]]
    made = {name: list(zip(cases, plant(cases), strict=True)) for name, plant in kind.plants.items()}
    masters = spread([case for case in cases if case.reference.strip() not in MASTER_STRINGS], MASTER_ROWS)
    made[MASTERS] = [(case, text) for case in masters for text in MASTER_STRINGS if not says(text, case.form)]
    return {name: wrong for name, pairs in made.items() if (wrong := _wrong(kind, pairs))}


def _wrong(kind: Kind, pairs: Sequence[tuple[Case, str | None]]) -> list[Asked]:
    return [(case, text) for case, text in pairs if text is not None and not kind.right(case, text)]


def spread(rows: Sequence[Any], budget: int) -> list[Any]:
    """At most ``budget`` rows, at even distances."""
    if not rows:
        return []
    places = np.unique(np.linspace(0, len(rows) - 1, min(budget, len(rows))).astype(int)).tolist()
    return [rows[place] for place in places]


def gold_signal(sampled: Sequence[Floats], wanted: GoldValidation) -> Check:
    """Whether the starting policy is sometimes right and sometimes wrong; clustered by prompt.

    Args:
        sampled: the gold's scores of the starting policy's samples, one array per prompt; NaN if one could not be judged.
    """
    name, counts = "gold_signal", np.array([float(np.isfinite(scores).sum()) for scores in sampled])
    low, high = wanted.min_pass_rate, wanted.max_pass_rate
    if not counts.sum():
        return failed(name, low, SIGNAL, "no sample could be judged")
    figure = clustered_share(np.array([float(np.nansum(scores)) for scores in sampled]), counts)
    detail = f"of {counts.sum():.0f} samples"
    if figure.value > 0.5:
        return at_most(name, figure, high, f"There is nothing to gain. {EASY}", detail, PROMPTS)
    return at_least(name, figure, low, f"There is no signal. {SIGNAL}", detail, PROMPTS)


def gold_parsed(read: Sequence[Floats], reads_answers: bool, wanted: GoldValidation) -> Check:
    """The parse rate: whether the grader finds an answer in the starting policy's samples, right or wrong; clustered by prompt.

    Args:
        read: 1 for each sample with an answer and 0 for the others, one array per prompt; NaN if one could not be judged.
        reads_answers: whether the grader says at all what it read; else nothing can be said.
    """
    name, counts = "gold_parsed", np.array([float(np.isfinite(one).sum()) for one in read])
    if not reads_answers or not counts.sum():
        reason = "no sample could be judged" if reads_answers else "the grader does not say which answer it read"
        return unmeasured(name, wanted.min_parse_rate, UNREAD, reason)
    figure = clustered_share(np.array([float(np.nansum(one)) for one in read]), counts)
    return at_least(name, figure, wanted.min_parse_rate, UNREAD, f"of {counts.sum():.0f} samples", PROMPTS)


def _graded(gold: RewardFunction, asked: Sequence[Asked]) -> list[Grade]:
    return score_rows(gold, [case.row for case, _ in asked], [text for _, text in asked]) if asked else []


def _share(grades: Sequence[Grade]) -> Interval:
    return share_interval(sum(map(is_right, grades)), len(grades))


def _references(asking: Asking, grades: Sequence[Grade], broken: Sequence[Broken], whole: bool) -> Check:
    name, threshold = "gold_references", 1.0 if asking.needs_all and _unusable(grades) else asking.wanted.min_references
    if not grades:
        return unmeasured(name, threshold, REFERENCES, "no row has a reference")
    said = "; ".join(f"{row} ({reason})" if reason else row for row, reason in broken[:LISTED])
    listed = f"; not of {said}{' ...' if len(broken) > LISTED else ''}" if broken else ""
    figure, detail = _share(grades), f"of {len(grades)} rows{listed}"
    advice = REFERENCES if _judged(grades) or any(grade.fault for grade in grades) else UNSCORED
    if whole:
        return exact(name, figure.value, threshold, figure.value >= threshold, advice, detail)
    return at_least(name, figure, threshold, advice, detail, MORE)


def _unusable(grades: Sequence[Grade]) -> bool:
    return any(grade.score is None and grade.fault is None for grade in grades)


def _planted(plants: Mapping[str, Sequence[Grade]], missed: Sequence[Missed], threshold: float, whole: bool) -> Check:
    """The kind of wrong answer that most often counts as right; the detail has the share of all that were caught."""
    name, found = "gold_planted", {plant: _share(own) for plant, grades in plants.items() if (own := _judged(grades))}
    if not plants:
        return unmeasured(name, threshold, PLANTED, "no row has a reference")
    if not found:
        return failed(name, threshold, UNJUDGED, "the gold judged none of them")
    worst = max(found, key=lambda plant: found[plant].value)
    total = sum(one.n for one in found.values())
    first = next((f", such as {one.completion[:SHOWN]!r} to {one.row}" for one in missed if one.plant == worst), "")
    detail = f"worst: {worst}{first}; mutation score {1 - len(missed) / total:.3f} of {total}"
    if whole:
        return exact(name, found[worst].value, threshold, found[worst].value <= threshold, PLANTED, detail)
    return at_most(name, found[worst], threshold, PLANTED, detail, MORE)


def _probe(cases: Sequence[Case], asked: Mapping[str, Sequence[Asked]]) -> list[Asked]:
    """Right and wrong answers to the same rows, beside each other."""
    wrong: dict[int, list[str]] = {}
    for pairs in asked.values():
        for case, text in pairs:
            wrong.setdefault(id(case), []).append(text)
    probed: list[Asked] = []
    for place, case in enumerate(spread(cases, PROBED_ROWS)):
        own = wrong.get(id(case), [])
        turned = [*own[place % len(own) :], *own[: place % len(own)]] if own else []
        probed += [(case, text) for text in (case.reference, *turned[:PROBED_WRONG])]
    return probed


def _moved(before: Sequence[Grade], after: Sequence[Grade]) -> int:
    return sum((one.score, one.passed) != (other.score, other.passed) for one, other in zip(before, after, strict=True))


def _stable(
    asking: Asking, references: Sequence[Asked], grades: Sequence[Grade], probed: Sequence[Asked], base: Sequence[Grade]
) -> Check:
    """Whether the same answers get the same grades: a second time, and in reverse order by another process."""
    if not references:
        return unmeasured("gold_stable", 0.0, STABLE, "no row has a reference")
    moved = _moved(base, asking.grades(probed))
    for asked, before in ((references, grades), (probed, base)):
        moved += _moved(before, _graded(asking.again, asked[::-1])[::-1])
    count = len(references) + 2 * len(probed)
    detail = f"{count} answers, graded again, in reverse order and by another instance"
    return exact("gold_stable", moved / count, 0.0, moved == 0, STABLE, detail)


def _alone(asking: Asking, probed: Sequence[Asked], base: Sequence[Grade]) -> Check:
    """Whether an answer's grade is the same by itself and in another batch, right and wrong answers to its row apart."""
    if not probed:
        return unmeasured("gold_alone", 0.0, ALONE, "no row has a reference")
    alone = [asking.grades([one])[0] for one in probed]
    right = [text == case.reference for case, text in probed]
    apart: list[Grade | None] = [None] * len(probed)
    for side in (True, False):
        places = [place for place, one in enumerate(right) if one is side]
        for place, grade in zip(places, asking.grades([probed[place] for place in places]), strict=True):
            apart[place] = grade
    moved = _moved(base, alone) + _moved(base, [grade for grade in apart if grade is not None])
    return exact("gold_alone", moved / (2 * len(probed)), 0.0, moved == 0, ALONE, f"{len(probed)} answers, each also by itself")


def _faults(grades: Sequence[Grade], threshold: float) -> Check:
    kinds = Counter(grade.fault for grade in grades if grade.fault is not None)
    if not grades:
        return unmeasured("gold_faults", threshold, FAULTS, "nothing was graded")
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    return at_most("gold_faults", share_interval(kinds.total(), len(grades)), threshold, FAULTS, told, MORE)
