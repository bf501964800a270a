"""JSON has no NaN and no infinity: wherever Ratchet writes it, a figure that is not finite is null."""

import json
import math
from collections.abc import Mapping
from typing import Any


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
