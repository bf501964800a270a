"""Raw rows as the frames that cleaning works on."""

from typing import Any

import polars as pl

from ratchet.components.data.duplicates import with_ids
from ratchet.components.data.schemas import raw_frame


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {"file": "f", "prompt": "q", "answer": "#### 5", "demonstration": "#### 5"}
    return with_ids(raw_frame([{**base, "row": number, **row} for number, row in enumerate(rows, 1)]).frame)
