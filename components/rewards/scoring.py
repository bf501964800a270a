"""Score a file of completions by hand: to try a reward before anything is built on it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError
from ratchet.components.rewards.protocol import RewardFunction, Score, checked


def scored_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; each must have a prompt and a completion.

    Raises:
        DataError: naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON strings may hold U+2028
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}. Give a JSONL file of prompt, completion and answer.") from error
    return [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"line {number} of {path} is not JSON: {error}. Write one object a line.") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("prompt", "completion")):
        raise DataError(f"line {number} of {path} has no text in prompt and completion. Write both on every line.")
    return row


def score_rows(reward: RewardFunction, rows: Sequence[Mapping[str, Any]]) -> list[Score]:
    """One score a row, in order.

    Raises:
        RewardError: if the reward breaks its protocol.
    """
    prompts, completions = ([row[key] for row in rows] for key in ("prompt", "completion"))
    return checked(reward(prompts, completions, rows), len(rows), "the reward")
