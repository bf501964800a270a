"""Of a gold of chrF, each item's tallies, [n, 3, 6] (:mod:`ratchet.components.statistics.chrf`), to which every sample adds."""

from collections.abc import Sequence

import numpy as np

from ratchet.components.records import ItemResult
from ratchet.components.statistics.chrf import LONGEST
from ratchet.components.statistics.intervals import Floats

Samples = Sequence[ItemResult]


def arms_tallies(ours: Sequence[Samples], theirs: Sequence[Samples], samples: int) -> tuple[Floats, Floats]:
    """Tallies of challenger and incumbent on the same n items, both [n, 3, 6].

    Args:
        ours: the challenger's samples of each item. An item without tallies is missing: the challenger's text shares nothing
            with the reference and is as long as the longest of either arm, the incumbent's is the reference. No text at all
            would spare the challenger the loss of precision. A reference that no arm has is as long as the longest.
        theirs: the incumbent's, likewise.
        samples: K, of an item that is not missing.
    """
    of_samples = [_of_samples(group) for arm in (ours, theirs) for group in arm]
    _, reference, text = np.concatenate([*of_samples, np.zeros((1, 3, LONGEST))]).max(axis=0)  # the longest, [6] each
    mine, others = [], []
    for a, b in zip(of_samples[: len(ours)], of_samples[len(ours) :], strict=True):
        expected = next((tallied[0, 1] for tallied in (a, b) if len(tallied)), reference)
        wrong, right = np.stack([np.zeros(LONGEST), expected, text]), np.stack([expected] * 3)
        mine.append(a.sum(axis=0) if len(a) else samples * wrong)
        others.append(b.sum(axis=0) if len(b) else samples * right)
    return _stacked(mine), _stacked(others)


def item_tallies(groups: Sequence[Samples]) -> Floats:
    """Tallies of one arm's items, none of which is missing, [n, 3, 6]."""
    return _stacked([_of_samples(group).sum(axis=0) for group in groups])


def _of_samples(group: Samples) -> Floats:
    """[K, 3, 6]; [0, 3, 6] if a sample has no tallies."""
    known = [result.tallies for result in group if result.tallies is not None]
    return np.array(known if len(known) == len(group) else [], dtype=np.float64).reshape(-1, 3, LONGEST)


def _stacked(tallies: Sequence[Floats]) -> Floats:
    return np.array(tallies, dtype=np.float64).reshape(-1, 3, LONGEST)
