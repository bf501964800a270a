"""A formula over the scores of other graders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.components.formula import Formula, FormulaError
from ratchet.components.graders.protocol import Grade, RewardFunction


@dataclass(frozen=True)
class Combined:
    """The formula's value for each completion, with the graders' scores as parts.

    Where a grader could not judge, neither can the formula; a formula without a finite value is a fault. Neither is a zero.
    """

    formula: Formula
    graders: Mapping[str, RewardFunction]

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        names = sorted(self.formula.names)
        columns = [self.graders[name](prompts, completions, rows) for name in names]
        return [
            self._combined(dict(zip(names, [column[number] for column in columns], strict=True)))
            for number in range(len(completions))
        ]

    def _combined(self, grades: Mapping[str, Grade]) -> Grade:
        parts = {name: grade.score for name, grade in grades.items() if grade.score is not None}
        for name, grade in grades.items():
            if grade.score is None:
                return Grade(None, parts, reason=f"{name}: {grade.reason}", fault=grade.fault)
        try:
            return Grade(self.formula(parts), parts)
        except FormulaError as error:
            return Grade(None, parts, reason=str(error), fault="protocol")
