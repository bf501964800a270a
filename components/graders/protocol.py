"""The protocol of graders and rewards: texts and rows in, a total and its parts out. A missing score (None) is not a zero."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ratchet.components.errors import RewardError

LARGEST = 1e12  # losses and gradients are float32, and both are squared: by the critic and by the gradient norm


@dataclass(frozen=True)
class Score:
    """A completion's reward. ``total`` is None if it could not be judged; such a completion does not train."""

    total: float | None
    parts: Mapping[str, float]


class RewardFunction(Protocol):
    """Anything that scores completions.

    Args:
        prompts: raw prompts, B.
        completions: completions' texts, B.
        rows: the dataset row of each prompt (``id``, ``answer``, ...), B.

    Returns:
        B scores.
    """

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[Score]: ...


def checked(scores: Sequence[Score], expected: int, source: str, largest: float = LARGEST) -> list[Score]:
    """The scores, checked against the protocol.

    Args:
        largest: bound on totals; parts are not bounded, because they may be scaled.

    Raises:
        RewardError: on a wrong count, a non-number, NaN or infinity, or a total beyond +-``largest``. These are faults of the
            reward, never a zero.
    """
    if len(scores) != expected:
        raise RewardError(f"{source} returned {len(scores)} rewards for {expected} completions. Return one for each.")
    for number, score in enumerate(scores):
        for name, value in {"total": score.total, **score.parts}.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
                raise RewardError(
                    f"{source} returned {name}={_shown(value)} for completion {number}. "
                    "Return a finite number, or None if the completion cannot be judged."
                )
        if score.total is not None and abs(score.total) > largest:
            raise RewardError(
                f"{source} returned total={score.total!r} for completion {number}. Training accepts rewards "
                f"from {-largest:g} to {largest:g}. Divide them by a constant."
            )
    return list(scores)


def score_rows(reward: RewardFunction, rows: Sequence[Mapping[str, Any]], completions: Sequence[str]) -> list[Score]:
    """One score per row, in order.

    Args:
        rows: dataset rows with their ``prompt``, B.
        completions: B.

    Raises:
        RewardError: if the reward breaks its protocol.
    """
    return checked(reward([row["prompt"] for row in rows], completions, rows), len(rows), "the reward")


def plain(score: Score, source: str) -> Score:
    """A copy made of built-in types only: reading it runs no code of the reward, unlike a subclass of dict or float.

    Raises:
        RewardError: if it is not a score.
    """
    total, parts = getattr(score, "total", None), getattr(score, "parts", None)
    if not isinstance(parts, Mapping):
        raise RewardError(f"{source} returned a {type(score).__name__} for a completion. Return a Score with a dict of parts.")
    return Score(_plain(total), {str(name): _plain(value) for name, value in parts.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value  # None, or what `checked` rejects
    return float(value) if isinstance(value, float) else int(value)


def _shown(value: object) -> str:
    huge = isinstance(value, int) and value.bit_length() > sys.float_info.max_exp  # Python cannot print the longest
    return "an integer beyond every float" if huge else repr(value)
