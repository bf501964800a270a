"""The level at which a use of sealed data is tested, so that the error rate holds over a whole schedule."""

import math
from collections.abc import Sequence
from typing import NamedTuple

CANDIDATE = 0.5  # lambda: a p-value up to here is a candidate for rejection


class PastTest(NamedTuple):
    """An earlier use: its p-value, and whether it promoted."""

    p_value: float
    rejected: bool


def bonferroni(alpha: float, uses: int) -> float:
    """The level of each of ``uses`` tests (Bonferroni 1936; Dunn 1961): the chance of any false promotion is at most ``alpha``.

    It holds for challengers that adapt to earlier outcomes, as long as the fold is retired at its first promotion: the tree of
    outcomes then has one path, and ``uses`` tests on it.
    """
    return alpha / uses


def gamma(j: int) -> float:
    """Weights of SAFFRON that sum to one: 0.43749 j^-1.6."""
    return 0.43749 * math.pow(j, -1.6)


def saffron(past: Sequence[PastTest], alpha: float) -> float:
    """The level of the next test so that the false discovery rate is at most ``alpha`` (Ramdas et al. 2018, arXiv:1802.09098).

    alpha_t = min{lambda, (1 - lambda) [w0 g(t - C0) + (alpha - w0) g(t - tau_1 - C1) + alpha sum_{j>=2} g(t - tau_j - Cj)]},
    tau_j the index of the j-th rejection, Cj the candidates after it, lambda = 1/2, w0 = alpha / 2. It needs independent
    p-values: fresh items at each use.
    """
    t, initial = len(past) + 1, alpha / 2
    total = initial * gamma(t - _candidates(past))
    for number, place in enumerate((i for i, test in enumerate(past, 1) if test.rejected), 1):
        wealth = alpha - initial if number == 1 else alpha
        total += wealth * gamma(t - place - _candidates(past[place:]))
    return min(CANDIDATE, (1 - CANDIDATE) * total)


def _candidates(past: Sequence[PastTest]) -> int:
    return sum(test.p_value <= CANDIDATE for test in past)
