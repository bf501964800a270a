"""The gold on rows of its data: what it says of the reference, of nothing, and of the reference of another row."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ratchet.components.data.columns import Lacking
from ratchet.components.data.sources import read_rows
from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader, gold_key
from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.protocol import Grade, RewardFunction, is_right
from ratchet.components.recipe import GraderSettings, load_recipe
from ratchet.components.rewards.checks.planted.kinds import Kind, kind_of
from ratchet.components.rewards.checks.planted.texts import Case, swapped
from ratchet.components.storage.home import RECIPE


@dataclass(frozen=True)
class Judged:
    """A completion and its grade."""

    completion: str
    grade: Grade

    @property
    def right(self) -> bool:
        return self.grade.score is not None and is_right(self.grade)


@dataclass(frozen=True)
class JudgedRow:
    """What the gold says of answers to one row.

    Attributes:
        row: its file and number.
        reference: its reference as a completion; None if the row has none.
        other: the reference of another row, where that is a wrong answer to this one.
    """

    row: str
    empty: Judged
    reference: Judged | None = None
    other: Judged | None = None


def judged_rows(project: Path, count: int = 50) -> list[JudgedRow]:
    """The first usable rows of a project's data, as the gold of its ``ratchet.yaml`` judges answers to them.

    Raises:
        RecipeError: if the recipe or the grader cannot be read, or the data have no rows.
        DataError: if the rows cannot be read.
    """
    with chdir(project):  # paths in a recipe are relative to it
        recipe = load_recipe(Path(RECIPE))
        rows = list(islice(usable(read_rows(recipe.data)), count))
        if not rows:
            raise RecipeError(f"the data of {project / RECIPE} have no row that can be asked. Correct data.source.")
        settings = recipe.gold_settings
        return judged(build_grader(settings, gold_key(recipe)), settings, rows)


def usable(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Raw rows that are asked something, and have all that ``task`` reads; the others are for the data's checks to list."""
    for row in rows:
        if isinstance(row["prompt"], str) and row["prompt"].strip() and not isinstance(row["answer"], Lacking):
            yield dict(row)


def judged(gold: RewardFunction, settings: GraderSettings, rows: Sequence[Mapping[str, Any]]) -> list[JudgedRow]:
    """What a grader says of answers to raw rows.

    Args:
        settings: of the grader: they say where references are.
    """
    kind = kind_of(settings)
    placed = [{**row, "id": f"{os.path.basename(row['file'])}, row {row['row']}"} for row in rows]
    cases = [(row, kind.case(row)) for row in placed]
    asked = _others(kind, [case for _, case in cases if case is not None])
    return [_judged_row(gold, row, case, asked) for row, case in cases]


def _others(kind: Kind, cases: Sequence[Case]) -> dict[str, str]:
    """By row, the reference of another one that is wrong there."""
    texts = zip(cases, swapped(cases), strict=True)
    return {case.row["id"]: text for case, text in texts if text is not None and not kind.right(case, text)}


def _judged_row(gold: RewardFunction, row: Mapping[str, Any], case: Case | None, others: Mapping[str, str]) -> JudgedRow:
    reference = None if case is None else _graded(gold, row, case.reference)
    other = others.get(row["id"])
    return JudgedRow(row["id"], _graded(gold, row, ""), reference, None if other is None else _graded(gold, row, other))


def _graded(gold: RewardFunction, row: Mapping[str, Any], completion: str) -> Judged:
    try:
        return Judged(completion, gold([row["prompt"]], [completion], [row])[0])
    except FaultError as fault:
        return Judged(completion, Grade(None, reason=str(fault), fault=fault.kind))
