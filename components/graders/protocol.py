"""The protocol of graders and rewards: texts and rows in, a grade out. A missing score (None) is not a zero."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ratchet.components.errors import RewardError

LARGEST = 1e12  # losses and gradients are float32, and both are squared: by the critic and by the gradient norm


@dataclass(frozen=True)
class Grade:
    """A judgement of one completion.

    Attributes:
        score: None if the completion could not be judged; it then neither trains nor counts as wrong.
        parts: figures that the score is made of, or that stand beside it, by name.
        passed: right or wrong, for graders that say so.
        reason: for people.
        fault: the kind of failure that left the score None, such as ``timeout``; None if the grader itself declined or judged.
        answer: what was read from the completion, in a canonical form, by which samples of an item vote; None if nothing was.
        expected: the reference's label, of a classification: with the answers, what measures of all items together need.
        tallies: counts of a text, [3][6], which add up to those that chrF of all items is computed from.
    """

    score: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    passed: bool | None = None
    reason: str = ""
    fault: str | None = None
    answer: str | None = None
    expected: str | None = None
    tallies: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True)
class Measure:
    """What a grader's scores are. It decides the test, the interval and the words of a report.

    Attributes:
        kind: binary, ``passed`` is what counts, and the score is 0 or 1; bounded, scores lie in [0, 1]; pairwise, scores are
            0, 1/2 or 1 against another completion; corpus, a figure of all items together.
    """

    kind: Literal["binary", "bounded", "pairwise", "corpus"] = "binary"
    more_is_better: bool = True


BINARY, BOUNDED = Measure("binary"), Measure("bounded")


def is_right(grade: Grade) -> bool:
    """Whether a grade says right: where it does not say, whether its score is the highest."""
    return grade.score == 1.0 if grade.passed is None else grade.passed


def is_read(grade: Grade) -> bool:
    """Whether a grader found an answer in the completion, right or wrong: a text, an object of JSON, or a query that ran."""
    return grade.answer is not None or any(grade.parts.get(name) == 1.0 for name in ("parsed", "ran"))


class RewardFunction(Protocol):
    """Anything that scores completions.

    Args:
        prompts: raw prompts, B.
        completions: completions' texts, B.
        rows: the dataset row of each prompt (``id``, ``answer``, ...), B.

    Returns:
        B grades.
    """

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[Grade]: ...


class Grader(RewardFunction, Protocol):
    """A reward function that can be gold: it says what its scores are, and which bytes decide them."""

    @property
    def measure(self) -> Measure:
        """What its scores are."""

    @property
    def digest(self) -> str:
        """sha256 over all that decides a grade: source, parameters, versions of libraries."""


def checked(grades: Sequence[Grade], expected: int, source: str, largest: float = LARGEST) -> list[Grade]:
    """The grades, checked against the protocol.

    Args:
        largest: bound on scores; parts are not bounded, because they may be scaled.

    Raises:
        RewardError: on a wrong count, a non-number, NaN or infinity, or a score beyond +-``largest``. These are faults of the
            reward, never a zero.
    """
    if len(grades) != expected:
        raise RewardError(f"{source} returned {len(grades)} rewards for {expected} completions. Return one for each.")
    for number, grade in enumerate(grades):
        for name, value in {"score": grade.score, **grade.parts}.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
                raise RewardError(
                    f"{source} returned {name}={_shown(value)} for completion {number}. "
                    "Return a finite number, or None if the completion cannot be judged."
                )
        if grade.score is not None and abs(grade.score) > largest:
            raise RewardError(
                f"{source} returned score={grade.score!r} for completion {number}. Training accepts rewards "
                f"from {-largest:g} to {largest:g}. Divide them by a constant."
            )
    return list(grades)


def score_rows(reward: RewardFunction, rows: Sequence[Mapping[str, Any]], completions: Sequence[str]) -> list[Grade]:
    """One grade per row, in order.

    Args:
        rows: dataset rows with their ``prompt``, B.
        completions: B.

    Raises:
        RewardError: if the reward breaks its protocol.
    """
    return checked(reward([row["prompt"] for row in rows], completions, rows), len(rows), "the reward")


def _shown(value: object) -> str:
    huge = isinstance(value, int) and value.bit_length() > sys.float_info.max_exp  # Python cannot print the longest
    return "an integer beyond every float" if huge else repr(value)
