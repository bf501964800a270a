"""JSON has no NaN and no infinity: wherever Ratchet writes it, a figure that is not finite is null.

What others wrote is read strictly: what two readers would read differently is not JSON here.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn


def without_nan(value: Any) -> Any:
    """JSON-like data with null in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(one) for key, one in value.items()}
    return [without_nan(one) for one in value] if isinstance(value, list | tuple) else value


def json_text(value: object, **form: Any) -> str:
    """A value as JSON that every reader takes.

    Args:
        form: ``indent``, ``sort_keys`` and so on, as for ``json.dumps``.
    """
    try:
        return json.dumps(value, allow_nan=False, **form)
    except ValueError:
        return json.dumps(without_nan(value), allow_nan=False, **form)


def strict_json(text: str) -> Any:
    """The value of a text that every reader reads alike.

    Raises:
        ValueError: for NaN and infinity, a number beyond float64, and a repeated key too.
        RecursionError: if it is nested too deeply.
    """
    return _STRICT.decode(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is beyond float64")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise ValueError(f"duplicate key: {times.most_common(1)[0][0]:.60}")
    return found


_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
