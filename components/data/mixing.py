"""Several sources mixed by weight, chosen by content, so that the order of rows does not matter."""

import hashlib
import math
from collections.abc import Sequence

import polars as pl

from ratchet.components.data.duplicates import COLUMNS


def weigh(frame: pl.DataFrame, weights: Sequence[float]) -> pl.DataFrame:
    """As many rows of each part as its weight allows, when the part that is scarce for its weight gives all of its rows.

    Args:
        weights: one positive number a part.
    """
    counts = dict(frame.group_by("part").len().iter_rows())
    present = [part for part in range(len(weights)) if counts.get(part)]
    if len(present) < 2:
        return frame
    scale = min(counts[part] / weights[part] for part in present)
    keyed = frame.with_columns(pl.struct(COLUMNS).map_elements(_place, return_dtype=pl.String).alias("_place"))
    chosen = [
        keyed.filter(pl.col("part") == part).sort("_place").head(math.floor(weights[part] * scale + 1e-9)) for part in present
    ]
    return pl.concat(chosen).drop("_place")


def _place(row: dict[str, str | None]) -> str:
    return hashlib.sha256("\0".join(str(row[name]) for name in COLUMNS).encode()).hexdigest()
