"""``weights: balanced`` of a gold of labels: the gate judges by balanced accuracy; an answer still scores 0 or 1.

Weights n / (k n_label) of the judged items would make the mean score that same figure, but then each item's score depends on
which others are judged, and no test of independent items holds: balanced accuracy has one of its own (docs/gates.md).
"""

from collections.abc import Collection, Mapping
from typing import Any

BALANCED = "balanced_accuracy"


def with_balanced_gold(values: Any) -> Any:
    """A recipe's values, in which balanced weights of the gold stand as the gate's primary measure.

    Raises:
        ValueError: if the primary is another measure.
    """
    gold, graders = (values.get(name) if isinstance(values, Mapping) else None for name in ("gold", "graders"))
    name = gold.get("grader") if isinstance(gold, Mapping) else None
    grader = graders.get(name) if isinstance(graders, Mapping) and isinstance(name, str) else None
    if not isinstance(grader, Mapping) or (grader.get("type"), grader.get("weights")) != ("label", "balanced"):
        return values
    assert isinstance(graders, Mapping) and isinstance(name, str)
    unweighted = {key: value for key, value in grader.items() if key != "weights"}
    return {**values, "graders": {**graders, name: unweighted}, **_judging(values.get("gate"), name)}


def _judging(gate: Any, grader: str) -> dict[str, Any]:
    """The recipe's section ``gate`` with its primary; nothing if there are no rules, which is refused elsewhere."""
    rules = gate.get("rules") if isinstance(gate, Mapping) else None
    if not isinstance(rules, Mapping):
        return {}
    primary = _balanced(rules.get("primary", {}), {"gold", grader, f"grader/{grader}"})
    if BALANCED not in _measures(primary):
        raise ValueError(
            f"graders.{grader}.weights: balanced makes the gate judge by {BALANCED}, and gate.rules.primary names another "
            "measure; remove one of them"
        )
    return {"gate": {**gate, "rules": {**rules, "primary": primary}}}


def _balanced(primary: Any, gold: Collection[str]) -> Any:
    """A primary with balanced accuracy in place of the gold, which is what a primary without a measure names."""
    if isinstance(primary, str):
        return BALANCED if primary in gold else primary
    if not isinstance(primary, Mapping):
        return primary
    if isinstance(primary.get("all_of"), list):
        return {**primary, "all_of": [_balanced(one, gold) for one in primary["all_of"]]}
    measure = primary.get("grader", primary.get("measure", "gold"))
    if not isinstance(measure, str) or measure not in gold:
        return primary
    return {**{key: value for key, value in primary.items() if key != "grader"}, "measure": BALANCED}


def _measures(primary: Any) -> list[Any]:
    several = primary.get("all_of") if isinstance(primary, Mapping) else None
    each = several if isinstance(several, list) else [primary]
    return [one.get("measure") if isinstance(one, Mapping) else one for one in each]
