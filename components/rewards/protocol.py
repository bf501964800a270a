"""The reward protocol: texts and rows in, a total and its named parts out. A missing reward (None) is not a zero."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from components.errors import RewardError


@dataclass(frozen=True)
class Score:
    """A completion's reward. ``total`` is None where it could not be judged; such a completion trains nothing."""

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


def checked(scores: Sequence[Score], expected: int, source: str) -> list[Score]:
    """The scores, if they are what the protocol promises.

    Raises:
        RewardError: on a wrong count, a non-number, NaN or infinity. These are faults of the reward, never a zero.
    """
    if len(scores) != expected:
        raise RewardError(f"{source} returned {len(scores)} rewards for {expected} completions. Return one each.")
    for number, score in enumerate(scores):
        for name, value in {"total": score.total, **score.parts}.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise RewardError(
                    f"{source} returned {name}={value!r} for completion {number}. "
                    "Return a finite number, or None where the completion cannot be judged."
                )
    return list(scores)
