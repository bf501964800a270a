"""Rows whose reference a grader cannot use: found before anything is trained, and named."""

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.errors import DataError
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.graders.rule import RuleGrader

MOST = 0.01  # of rows; a label outside of its set is none too many
SHOWN = 5


def require_references(grader: RewardFunction, tables: Mapping[str, Sequence[Mapping[str, Any]]], strict: bool = False) -> None:
    """Refuse data with references that judge nothing. Only graders by a rule are asked: nothing of the user's runs.

    Args:
        tables: rows by the table's name.
        strict: whether one such row is too many.

    Raises:
        DataError: naming the first rows, each with its table, id and what is wrong.
    """
    if not isinstance(grader, RuleGrader):
        return
    rows = [(name, row) for name, table in tables.items() for row in table]
    found = [(name, row, grade.reason) for name, row in rows if (grade := grader.rule("", row)).score is None]
    if len(found) > (0 if strict else MOST * len(rows)):
        listed = [
            f"  {name}, row {row.get('id', '?')}: {reason or 'it has no reference'}" for name, row, reason in found[:SHOWN]
        ]
        said = f"{len(found)} of {len(rows)} rows have a reference that the gold cannot use:"
        raise DataError("\n".join([said, *listed, "Correct these rows, or the grader's key reference."]))
