"""Together's ``f(prediction, target)``. Here: a length in any unit, within 1% of the reference."""

import math
import re

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0}
LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(mm|cm|m|km)\.?")


def same_length(prediction: str, target: str) -> bool | None:
    found, wanted = metres(prediction), metres(target)
    if wanted is None:
        return None  # the row's reference is not a length: nothing can be said
    return found is not None and math.isclose(found, wanted, rel_tol=0.01)


def metres(text: str) -> float | None:
    found = LENGTH.fullmatch(text.strip())  # the whole text, so that a list of lengths is none
    return float(found[1]) * METRES[found[2]] if found else None
