"""The figures of a retired fold as rows before and after, and the rules of the gate, in words."""

import re
from collections.abc import Mapping
from typing import Any

from ratchet.components.records import Arm, Verdict
from ratchet.components.report.run import LABELS
from ratchet.components.report.theme import page

ALONE = {
    "items": "unseen examples",
    "wins": "right only after",
    "losses": "right only before",
    "p_value": "p-value of the test",
}
DECODED = {"accuracy": "sampled accuracy", "greedy_accuracy": "greedy accuracy"}
OURS = ("", "sealed", "guard")  # a benchmark's library may decode in its own way
HIDDEN = re.compile(r"p_value_with_guards|gain(_low|_high)?(_.*)?")  # of the ledger's arithmetic, or told above the table
HIDDEN_TEST = re.compile("<!-- hidden test -->.*?<!-- /hidden test -->", re.DOTALL)  # of a report; user texts are escaped
OF_AN_ARM = re.compile(rf"({Arm.CHALLENGER}|{Arm.INCUMBENT})_(.+)")


# The reasons of a verdict, as components/gate/rules.py writes and the ledger keeps them.
PRIMARY = re.compile(r"primary(?: (?P<measure>\S+))?: (?P<test>.+), p = (?P<p>\S+) against alpha (?P<alpha>\S+)")
FLOOR = re.compile(r"floor: (?P<measure>\S+) above (?P<floor>\S+) \(bound (?P<bound>\S+)\)")
GUARD = re.compile(
    r"guard: (?P<where>(?P<measure>\S+) on (?P<on>.+?)): (?P<asked>(?:at most|worse than) .+) \(bound (?P<bound>\S+)\)"
)
OUTCOMES = {"held": "Held", "failed": "Failed"}


def sealed_values(verdict: Verdict) -> dict[str, Any]:
    """What a report shows of a verdict on a retired fold."""
    return {
        "fold": verdict.fold,
        "rows": sealed_rows(verdict.figures, verdict.alpha),
        "reasons": [rule_text(reason, verdict.figures) for reason in verdict.sealed_reasons],
    }


def with_test(report: str, verdict: Verdict) -> str:
    """A report that hid the figures of the gate's test, with them; another one as it is.

    Args:
        verdict: on a fold that is retired by now.
    """
    section = page("run-sealed.html.j2", sealed=sealed_values(verdict), late=True)
    return HIDDEN_TEST.sub(lambda _: section, report, count=1)


def rule_text(reason: str, figures: Mapping[str, float]) -> str:
    """A rule of the gate and its outcome as sentences; one of another release as it is.

    Args:
        reason: of a verdict on a fold that is retired.
        figures: of the same verdict.
    """
    rule, _, outcome = reason.rpartition(": ")
    if outcome not in OUTCOMES:
        return reason
    if (found := PRIMARY.fullmatch(rule)) is not None:
        said = f"Better{_in(found['measure'])} on unseen examples ({found['test']}): "
        said += f"p = {found['p']}, must be at most {found['alpha']}"
    elif (found := FLOOR.fullmatch(rule)) is not None:
        said = f"{_label(found['measure'])} above {found['floor']}: surely at least {found['bound']}"
    elif (found := GUARD.fullmatch(rule)) is not None:
        said = f"{_label(found['measure'])}{_on(found['on'])}: {_arms(found['where'], figures)}"
        said += f"{'may' if found['asked'].startswith('worse') else 'must'} be {found['asked']}"
        said += _surely(found["asked"], float(found["bound"]))
    else:
        return reason
    return f"{said}. {OUTCOMES[outcome]}."


def _in(measure: str | None) -> str:
    return "" if measure is None else f" in {LABELS.get(measure, measure)}"


def _label(measure: str) -> str:
    label = LABELS.get(measure, measure)
    return f"{label[0].upper()}{label[1:]}"


def _on(place: str) -> str:
    return "" if place == "sealed" else f", {place.removeprefix('sealed, ')}"


def _arms(where: str, figures: Mapping[str, float]) -> str:
    """Both arms' means, as far as they were measured."""
    ours, theirs = (figures.get(f"{arm}_{where}") for arm in (Arm.CHALLENGER, Arm.INCUMBENT))
    if ours is None:
        return ""
    return f"{ours:.4g}; " if theirs is None else f"{ours:.4g} against {theirs:.4g}; "


def _surely(asked: str, bound: float) -> str:
    """The bound, where it is one of a quantity that people know: that of a ratio is a difference of two products."""
    if "times" in asked:
        return ""
    if asked.startswith("at most"):
        return f", is surely at most {bound:.3g}"
    return f", is worse by at most {bound:.3g}" if bound > 0 else ", is surely better"


def sealed_rows(figures: Mapping[str, float], alpha: float | None = None) -> list[dict[str, str]]:
    """Rows of ``label``, ``before`` and ``after``; what belongs to the comparison as a whole has no ``before``.

    Args:
        alpha: the level that p-values were compared with, if it is known.
    """
    level = "" if alpha is None else f", must be at most {alpha:.4g}"
    rows: dict[str, dict[str, str]] = {}
    for name, value in sorted(figures.items(), key=lambda figure: _rank(figure[0])):
        if (found := OF_AN_ARM.fullmatch(name)) is not None:
            row = rows.setdefault(found[2], {"label": _measure(found[2]), "before": "-", "after": "-"})
            row["after" if found[1] == Arm.CHALLENGER else "before"] = f"{value:.4g}"
        elif not HIDDEN.fullmatch(name):
            said = f"{value:.4g}" + (level if name.startswith("p_value") else "")
            rows[name] = {"label": _alone(name), "before": "", "after": said}
    return list(rows.values())


def _rank(name: str) -> int:
    """What was tested first, then the test, then the guards; a record of the ledger has its figures in alphabetical order."""
    if OF_AN_ARM.fullmatch(name):
        return len(ALONE) + 1 if " on " in name else 0
    return next((rank for rank, known in enumerate(ALONE, 1) if name.startswith(known)), len(ALONE) + 2)


def _measure(name: str) -> str:
    """``length on sealed`` as ``mean length (tokens)``; other places are named."""
    measure, _, place = name.partition(" on ")
    label = LABELS.get(measure, measure)
    label = DECODED.get(measure, label) if place.partition(",")[0] in OURS else label
    return label + (f", {place}" if place not in ("", "sealed") else "")


def _alone(name: str) -> str:
    """A figure's label; one of several primary measures ends with the measure's name."""
    known = next((one for one in ALONE if name == one or name.startswith(f"{one}_")), None)
    if known is None:
        return name
    measure = name.removeprefix(known).removeprefix("_")
    return ALONE[known] + (f", {LABELS.get(measure, measure)}" if measure else "")
