"""Checks on held-out pairs, with figures counted by hand."""

import numpy as np
import pytest

from ratchet.components.recipe import Slice
from ratchet.components.rewards.checks.on_pairs import (
    ScoredPairs,
    length_baseline,
    pair_accuracy,
    short_chosen_accuracy,
    worst_subset,
)

# Of four pairs one is in the right order, one in the wrong one, one is tied and one is right again: 2.5 of 4.
PAIRS = [{"prompt": f"p{n}", "chosen": "x" * (n + 1), "rejected": "xx"} for n in range(4)]
SCORED = ScoredPairs(PAIRS, np.array([1.0, 0.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 1.0]))


def repeated(times: int) -> ScoredPairs:
    pairs = [{**pair, "prompt": f"{pair['prompt']}-{n}"} for n in range(times) for pair in PAIRS]
    return ScoredPairs(pairs, np.tile(SCORED.chosen, times), np.tile(SCORED.rejected, times))


def test_a_tie_is_half_a_win() -> None:
    assert SCORED.won.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert pair_accuracy(SCORED, 0.5).value == pytest.approx(0.625)


def test_the_baseline_prefers_the_longer_or_the_shorter_whichever_is_better() -> None:
    assert SCORED.longer.tolist() == [-1.0, 0.0, 1.0, 2.0]
    # By length alone: 0, 1/2, 1, 1 are right, 0.625, as many as by the scores.
    check = length_baseline(SCORED, 0.0)
    assert check.value == 0.0
    assert check.detail.startswith("length alone has 0.625")
    turned = ScoredPairs(
        [{**pair, "chosen": "xx", "rejected": pair["chosen"]} for pair in PAIRS], SCORED.chosen, SCORED.rejected
    )
    assert length_baseline(turned, 0.0).detail.startswith("length alone has 0.625")


def test_short_chosen_answers_are_judged_by_themselves() -> None:
    assert short_chosen_accuracy(repeated(9), 0.5).value is None  # nine pairs are too few
    assert short_chosen_accuracy(repeated(10), 0.5).value == 1.0  # the first of each four


def test_the_worst_subset_counts() -> None:
    subsets = [Slice(name=name, prompt=prompt) for name, prompt in (("first", "^p0"), ("second", "^p1"))]
    check = worst_subset(repeated(10), subsets, 0.5)
    assert (check.value, check.passed, check.detail) == (0.0, False, "worst: second")
