"""The gate's rules where the data tie items together, in groups that are few or unequal."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, Comparison, Figures, compare
from ratchet.components.gate.rules import judge_guard
from ratchet.components.recipe import Guard
from tests.gate.test_rules import BETTER, arms, share


def in_groups(arms: Arms, sizes: list[int]) -> Arms:
    """The same, with groups of these sizes, one after the other."""
    group_of = dict(zip(arms.items, np.repeat(np.arange(len(sizes)), sizes).astype(str), strict=True))
    grouped = ({k: [replace(r[0], cluster=group_of[k])] for k, r in arm.items()} for arm in (arms.challenger, arms.incumbent))
    return Arms(arms.items, *grouped, arms.challenger_digest, arms.incumbent_digest)


def test_a_guard_without_limits_needs_groups_and_says_how_many() -> None:
    kl = Guard(measure="kl", max=20.0)
    for sizes, held in (([60] * 5, True), ([75] * 4, False), ([297, 1, 1, 1], False)):
        found = judge_guard(kl, {"sealed": compare(in_groups(BETTER, sizes), ["kl"])}, 0.05)
        assert found.held is held
    assert found.text.endswith(
        "(no bound: level 0.05 needs 5 groups of items, and there are 4; add data, or raise gate.rules.guard_alpha)"
    )


def test_the_slice_of_four_items_has_no_bound_of_a_measure_without_limits() -> None:
    few = arms(share(4, 4), share(2, 4))
    assert (
        "needs 5 items, and there are 4"
        in judge_guard(Guard(measure="kl", max=20.0), {"sealed": compare(few, ["kl"])}, 0.05).text
    )


@pytest.mark.parametrize("sizes", [[12] * 5, [40, 5, 5, 5, 5], [50, 4, 3, 2, 1]])
def test_a_guard_at_its_limit_seldom_passes_however_unequal_the_groups(sizes: list[int]) -> None:
    """KL of 20 in the mean, as the groups of the data have it."""
    rng, runs, guard = np.random.default_rng(0), 200, Guard(measure="kl", max=20.0)
    held = 0
    for _ in range(runs):
        kl = np.repeat(20 + rng.normal(size=len(sizes)), sizes) + rng.normal(0, 0.3, 60)
        both = (np.maximum(kl, 0)[:, None], np.zeros((60, 1)))
        figures = (Figures({"kl": arm}, {"kl": np.zeros(60, dtype=bool)}) for arm in both)
        place = Comparison(*figures, clusters=np.repeat(np.arange(len(sizes)), sizes))
        held += judge_guard(guard, {"sealed": place}, 0.05).held
    assert held / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
