"""``reward.formula``: a training reward that is a formula over the recipe's graders."""

from collections.abc import Mapping
from typing import Any

from ratchet.components.formula import parse_formula

OTHERS = ("kind", "verifier", "terms", "function")


def with_formula(values: Any) -> Any:
    """A recipe's values, in which ``reward: {formula: ...}`` is the verifier that computes it from ``graders``.

    The value is the reward as it is: it is neither mapped nor bounded.

    Raises:
        ValueError: if it is not a formula, names what is not a grader, or stands beside another description of the reward.
    """
    reward = values.get("reward") if isinstance(values, Mapping) else None
    if not isinstance(reward, Mapping) or reward.get("formula") is None:
        return values
    others = [key for key in OTHERS if key in reward]
    if others:
        raise ValueError(f"reward.formula is the whole reward, and reward.{others[0]} stands beside it; remove one of them")
    graders = values.get("graders")
    known = graders if isinstance(graders, Mapping) else {}
    names = parse_formula(str(reward["formula"])).names
    unknown = sorted(names - known.keys())
    if unknown or not names:
        said = f"names {', '.join(unknown)}" if unknown else "names no grader"
        raise ValueError(f"reward.formula {said}, and graders are {', '.join(map(str, known)) or 'none'}; name them there")
    verifier = {
        "type": "multi",
        "formula": str(reward["formula"]),
        "graders": {name: known[name] for name in sorted(names)},
        "range": None,
    }
    rest = {key: value for key, value in reward.items() if key != "formula"}
    return {**values, "reward": {**rest, "kind": "verifier", "verifier": verifier}}
