"""The figures of a retired fold as rows before and after, in words."""

import re
from collections.abc import Mapping

from ratchet.components.records import Arm
from ratchet.components.report.run import LABELS

ALONE = {
    "items": "unseen examples",
    "wins": "right only after",
    "losses": "right only before",
    "p_value": "p-value of the test",
}
HIDDEN = re.compile(r"p_value_with_guards|gain(_low|_high)?(_.*)?")  # of the ledger's arithmetic, or told above the table
OF_AN_ARM = re.compile(rf"({Arm.CHALLENGER}|{Arm.INCUMBENT})_(.+)")


def sealed_rows(figures: Mapping[str, float]) -> list[dict[str, str]]:
    """Rows of ``label``, ``before`` and ``after``; what belongs to the comparison as a whole stands under ``after``."""
    rows: dict[str, dict[str, str]] = {}
    for name, value in sorted(figures.items(), key=lambda figure: _rank(figure[0])):
        if (found := OF_AN_ARM.fullmatch(name)) is not None:
            row = rows.setdefault(found[2], {"label": _measure(found[2]), "before": "-", "after": "-"})
            row["after" if found[1] == Arm.CHALLENGER else "before"] = f"{value:.4g}"
        elif not HIDDEN.fullmatch(name):
            rows[name] = {"label": _alone(name), "before": "", "after": f"{value:.4g}"}
    return list(rows.values())


def _rank(name: str) -> int:
    """What was tested first, then the test, then the guards; a record of the ledger has its figures in alphabetical order."""
    if OF_AN_ARM.fullmatch(name):
        return len(ALONE) + 1 if " on " in name else 0
    return next((rank for rank, known in enumerate(ALONE, 1) if name.startswith(known)), len(ALONE) + 2)


def _measure(name: str) -> str:
    """``length on sealed`` as ``mean length (tokens)``; other places are named."""
    measure, _, place = name.partition(" on ")
    return LABELS.get(measure, measure) + (f", {place}" if place not in ("", "sealed") else "")


def _alone(name: str) -> str:
    """A figure's label; one of several primary measures ends with the measure's name."""
    known = next((one for one in ALONE if name == one or name.startswith(f"{one}_")), None)
    if known is None:
        return name
    measure = name.removeprefix(known).removeprefix("_")
    return ALONE[known] + (f", {LABELS.get(measure, measure)}" if measure else "")
