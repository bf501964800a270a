"""Raw rows as the frames that cleaning works on."""

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from ratchet.components.data.duplicates import with_ids
from ratchet.components.data.schemas import raw_frame


def prompts(texts: Mapping[str, str], evaluated: Collection[str] = ()) -> pl.DataFrame:
    """id -> prompt as the rows that are compared; evaluated ones come first."""
    return pl.DataFrame(
        {"id": texts.keys(), "prompt": texts.values(), "priority": [int(name not in evaluated) for name in texts]}
    )


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"file": "f", "prompt": "q", "answer": "#### 5", "demonstration": "#### 5"}
    return with_ids(raw_frame([{**base, "row": number, **row} for number, row in enumerate(rows, 1)]).frame)
