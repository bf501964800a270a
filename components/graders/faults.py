"""Faults of graders and rewards: retried, counted by kind, and missing; never a zero."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ratchet.components.errors import RatchetError, RewardError
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.recipe import Failures
from ratchet.components.text import visible

FaultKind = Literal["timeout", "exit", "crash", "memory", "processes", "output", "raised", "protocol"]
FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)
PASSING = ("raised",)  # what a service that is down looks like; the other faults would only happen again
FEWEST = 200  # completions needed to judge the rate, so that one early failure is not a rate


def kind_of(name: str) -> FaultKind:
    """A kind by its name; any other name means that the protocol was not kept."""
    return next((kind for kind in FAULTS if kind == name), "protocol")


class FaultError(Exception):
    """A call failed as a whole. The message is safe to show."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(visible(message))
        self.kind = kind


class Retrying:
    """A function whose failures are retried: first the whole batch, then each completion alone.

    Counts are of this process; a run that resumes after a crash starts counting again.
    """

    def __init__(self, function: RewardFunction, source: str, failures: Failures) -> None:
        self.function, self.source, self.failures = function, source, failures
        self.judged = self.graded = 0
        self.faults: Counter[str] = Counter()
        self.last = ""

    @property
    def failed(self) -> int:
        return self.faults.total()

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        """The function's grades, with None where every attempt failed.

        Raises:
            RewardError: if more than the recipe's share of completions failed, or all of them.
        """
        self.judged += len(completions)
        grades = self._batch(prompts, completions, rows)
        if self.failed and self.failed == self.judged:
            raise RewardError(f"{self._summary()}. {self._remedy()}")
        return grades

    def _batch(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        grades = self._attempt(prompts, completions, rows)
        if not isinstance(grades, FaultError):
            return [self._counted(grade) for grade in grades]
        if len(completions) == 1:
            return [self._missing(grades)]
        singles = zip(prompts, completions, rows, strict=True)
        return [grade for prompt, completion, row in singles for grade in self._batch([prompt], [completion], [row])]

    def _attempt(
        self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[Grade] | FaultError:
        """The grades, or the fault of the last attempt."""
        for attempt in range(self.failures.retries + 1):
            if attempt:
                time.sleep(self.failures.pause * 2 ** (attempt - 1))
            try:
                return self.function(prompts, completions, rows)
            except RatchetError:
                raise
            except FaultError as error:
                fault = error
            except Exception as error:  # a built-in grader that fails is our fault, and still no zero
                fault = FaultError("raised", f"{type(error).__name__}: {error}")
            if fault.kind not in PASSING:
                break
        return fault

    def _counted(self, grade: Grade) -> Grade:
        if grade.fault is not None:
            return self._missing(FaultError(kind_of(grade.fault), grade.reason))
        self.graded += 1
        return grade

    def _missing(self, fault: FaultError) -> Grade:
        self.faults[fault.kind] += 1
        self.last = f"{fault.kind}: {fault}"
        if self.failed > self.failures.max_rate * max(self.judged, FEWEST):
            raise RewardError(f"{self._summary()}. {self._remedy()}")
        return Grade(None, {}, fault=fault.kind, reason=str(fault))

    def _remedy(self) -> str:
        """A higher rate only helps a function that also works."""
        return "Fix it, or raise reward.failures.max_rate." if self.graded else "Fix it: no call has succeeded."

    def _summary(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.faults.most_common())
        return f"{self.source} failed on {self.failed} of {self.judged} completions ({kinds}); the last error was {self.last}"
