"""Levels over a schedule. The first terms of SAFFRON by hand: g(1) = 0.43749, g(2) = 0.43749 x 2^-1.6 = 0.144318."""

import math

import numpy as np
import pytest

from ratchet.components.statistics.spending import PastTest, bonferroni, gamma, saffron

LOST, CANDIDATE, WON = PastTest(0.7, False), PastTest(0.3, False), PastTest(0.001, True)


def test_an_epochs_level_is_divided_by_its_uses() -> None:
    assert bonferroni(0.05, 26) * 26 == pytest.approx(0.05)


def test_the_weights_sum_to_one() -> None:
    # the rest of the sum from 10,001 on is about the integral 0.43749 x 10^4^-0.6 / 0.6 = 0.0029
    assert sum(gamma(j) for j in range(1, 10_001)) == pytest.approx(1 - 0.0029, abs=1e-4)


@pytest.mark.parametrize(
    ("past", "level"),
    [
        ([], 0.01093725),  # 1/2 x 0.05 x g(1)
        ([LOST], 0.00360795),  # 1/2 x 0.05 x g(2)
        ([CANDIDATE], 0.01093725),  # a candidate does not cost: g(2 - 1)
        ([WON], 0.0218745),  # 1/2 x (0.05 g(2 - 1) + 0.05 g(2 - 1 - 0))
        ([WON, LOST], 0.0072159),  # 1/2 x (0.05 g(3 - 1) + 0.05 g(3 - 1))
        ([WON, WON], 0.0437490),  # 1/2 x (0.05 g(3 - 2) + 0.05 g(3 - 1 - 1) + 0.1 g(3 - 2))
    ],
)
def test_the_first_levels_by_hand(past: list[PastTest], level: float) -> None:
    assert saffron(past, 0.1) == pytest.approx(level, rel=1e-4)


def test_a_level_is_never_above_the_candidates() -> None:
    assert saffron([WON] * 50, 0.99) == 0.5


def test_few_of_the_promotions_of_a_long_mixed_schedule_are_false() -> None:
    rng, shares = np.random.default_rng(0), []
    for _ in range(200):
        past: list[PastTest] = []
        null = rng.random(60) < 0.7
        for is_null in null:
            z = rng.normal(0 if is_null else 3)
            p_value = 0.5 * math.erfc(z / math.sqrt(2))
            past.append(PastTest(p_value, p_value <= saffron(past, 0.1)))
        won = np.array([test.rejected for test in past])
        shares.append((won & null).sum() / max(1, won.sum()))
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / math.sqrt(200)
