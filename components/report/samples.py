"""Answers of both models to the same questions of the development split, side by side, those that got worse first.

Sealed items are never shown: whoever reads them could tune the next run to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratchet.components.records import ItemResult

PER_KIND = 40  # shown; all are counted
KINDS = {
    "worse": "Got worse",
    "better": "Got better",
    "wrong": "Wrong before and after",
    "same": "The same score",
    "right": "Right before and after",
    "unjudged": "Not judged",
}


@dataclass(frozen=True)
class Answer:
    """A completion, and what the gold makes of it."""

    text: str
    score: float | None
    passed: bool | None
    why: str | None  # it could not be judged

    @property
    def said(self) -> str:
        """The grade in words."""
        if self.score is None:
            return f"not judged ({self.why})" if self.why else "not judged"
        if self.passed is None:
            return f"score {self.score:.3g}"
        word = "right" if self.passed else "wrong"
        return word if self.score == float(self.passed) else f"{word}, score {self.score:.3g}"

    @property
    def light(self) -> str:
        return "" if self.score is None or self.passed is None else "good" if self.passed else "bad"


@dataclass(frozen=True)
class Pair:
    """Both models' answers to one question."""

    id: str
    prompt: str
    reference: str | None
    before: Answer
    after: Answer

    @property
    def change(self) -> float | None:
        """Of the score; None if one of them could not be judged."""
        before, after = self.before.score, self.after.score
        return None if before is None or after is None else after - before

    @property
    def kind(self) -> str:
        """One of KINDS."""
        if self.change is None:
            return "unjudged"
        if self.change:
            return "worse" if self.change < 0 else "better"
        return "same" if self.after.passed is None else "right" if self.after.passed else "wrong"


@dataclass(frozen=True)
class Group:
    """Pairs of a kind: how many there are, and those that are shown."""

    kind: str
    title: str
    count: int
    shown: list[Pair]


def paired(before: Sequence[ItemResult], after: Sequence[ItemResult], references: Mapping[str, str]) -> list[Pair]:
    """Answers with the same item and number of sample, in the order of ``after``.

    Args:
        references: by the item's id.
    """
    known = {(one.id, one.sample): one for one in before}
    return [
        Pair(new.id, new.prompt, references.get(new.id), _answer(old), _answer(new))
        for new in after
        if (old := known.get((new.id, new.sample))) is not None
    ]


def grouped(pairs: Sequence[Pair]) -> list[Group]:
    """Kinds that have pairs, in the order of KINDS; within a kind the largest change first."""
    groups = []
    for kind, title in KINDS.items():
        mine = sorted((pair for pair in pairs if pair.kind == kind), key=lambda pair: -abs(pair.change or 0.0))
        if mine:
            groups.append(Group(kind, title, len(mine), mine[:PER_KIND]))
    return groups


def _answer(result: ItemResult) -> Answer:
    return Answer(result.completion, result.score, result.passed, result.fault)
