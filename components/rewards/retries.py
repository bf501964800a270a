"""Failures of a reward are retried and counted; what still fails is missing, never a zero."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ratchet.components.errors import RewardError
from ratchet.components.graders.protocol import Grade, RewardFunction, plain
from ratchet.components.recipe import Failures
from ratchet.components.user_code import user_code

REMEDY = "Return a Grade for each completion, and raise an Exception if the function fails."
FEWEST = 200  # completions needed to judge the rate, so that one early failure is not a rate


class Retrying:
    """A reward function whose exceptions are retried: first the whole batch, then each completion alone.

    Counts are of this process; a run that resumes after a crash starts counting again.
    """

    def __init__(self, function: RewardFunction, source: str, failures: Failures) -> None:
        self.function, self.source, self.failures = function, source, failures
        self.judged = self.failed = self.retried = 0
        self.last: Exception | None = None

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        """The function's scores, with None where every attempt failed.

        Raises:
            RewardError: if more than the recipe's share of completions failed, or the function would have ended the run.
        """
        self.judged += len(completions)
        scores = self._attempt(prompts, completions, rows)
        if scores is not None:
            return [self._checked(score) for score in scores]
        if len(completions) == 1:
            return [self._missing()]
        return [score for one in zip(prompts, completions, rows, strict=True) for score in self._single(*one)]

    def _single(self, prompt: str, completion: str, row: Mapping[str, Any]) -> list[Grade]:
        scores = self._attempt([prompt], [completion], [row])
        return [self._missing()] if scores is None else [self._checked(score) for score in scores]

    def _checked(self, grade: Grade) -> Grade:
        """The grade; one with a fault is counted as a failure."""
        if grade.fault is None:
            return grade
        self.last = RewardError(f"{grade.fault}: {grade.reason}")
        return replace(self._missing(), fault=grade.fault, reason=grade.reason)

    def _attempt(self, *batch: Any) -> list[Grade] | None:
        """The scores; None if every attempt raised."""
        for attempt in range(self.failures.retries + 1):
            if attempt:
                self.retried += 1
                time.sleep(self.failures.pause * 2 ** (attempt - 1))
            try:
                with user_code(self.source, REMEDY):
                    return [plain(score, self.source) for score in self.function(*batch)]
            except RewardError:
                raise  # a retry does not fix a broken protocol
            except Exception as error:  # a verifier is user code or a service, and may raise anything
                self.last = error
        return None

    def _missing(self) -> Grade:
        self.failed += 1
        if self.failed > self.failures.max_rate * max(self.judged, FEWEST):
            raise RewardError(
                f"{self.source} failed on {self.failed} of {self.judged} completions, each attempted "
                f"{self.failures.retries + 1} times; the last error was {type(self.last).__name__}: {self.last}. "
                "Fix it, or raise reward.failures.max_rate."
            ) from self.last
        return Grade(None, fault="raised", reason=f"{type(self.last).__name__}: {self.last}")
