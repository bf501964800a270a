"""JSON files that a recipe names."""

import json
from pathlib import Path
from typing import Any

from ratchet.components.errors import RecipeError

LARGEST = 1_000_000  # bytes


def read_json_file(path: Path, remedy: str, key: str = "") -> Any:
    """The value of a JSON file.

    Args:
        remedy: what to give instead, for messages.
        key: begins messages, such as ``task.response.json_schema: ``.

    Raises:
        RecipeError: if it cannot be read, is not JSON, or is larger than 1 MB.
    """
    try:
        size = path.stat().st_size
        if size <= LARGEST:
            return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{key}{path} cannot be read as JSON: {error}. {remedy}") from error
    raise RecipeError(f"{key}{path} has {size} bytes, more than {LARGEST}. {remedy}")
