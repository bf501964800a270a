"""Results of a gold of chrF."""

from collections.abc import Sequence

import numpy as np

from ratchet.components.records import ItemResult
from ratchet.components.statistics.chrf import chrf, ngram_tallies


def written(reference: str, completions: Sequence[str], item: str = "0", cluster: str | None = None) -> list[ItemResult]:
    """One item's samples."""
    each = [(text, ngram_tallies(text, reference)) for text in completions]
    return [
        ItemResult(
            item, "p", text, None, float(chrf(tallies.astype(np.float64))), 10, True, 1.0,
            sample=number, tallies=tallies.tolist(), cluster=cluster,
        )
        for number, (text, tallies) in enumerate(each)
    ]  # fmt: skip
