"""Each detector by hand."""

import math
from collections.abc import Callable, Collection

import pytest

from ratchet.components.training.detectors import (
    MOST,
    GradientSpikes,
    ProxyGoldGap,
    fall_on_other_draws,
    paired_z,
    spike_limit,
)


def test_a_paired_difference_in_standard_errors() -> None:
    # changes 1, 0, 1, 0: mean 1/2, variance 1/3, standard error sqrt(1/12): z = sqrt(3)
    assert paired_z([1, 0, 1, 0], [0, 0, 0, 0]) == pytest.approx(math.sqrt(3))
    assert paired_z([1, None, 1, 0, 0], [0, 5, 0, 0, 0]) == pytest.approx(math.sqrt(3))
    assert paired_z([1, 2], [1, 2]) == 0
    assert paired_z([0, 0], [1, 1]) == -MOST


def test_a_gap_is_counted_only_while_gold_is_below_its_best() -> None:
    fallen = [0.0] * 10 + [1.0] * 30  # from all 1: mean -1/4, deviation 0.4385, error 0.0693: z = -3.606
    gap = ProxyGoldGap()
    assert gap.observe([0.0] * 40, fallen, 0.5) == 0
    assert gap.observe([1.0] * 40, [1.0] * 40, 0.5) == 0 == gap.cusum  # both rise
    assert gap.observe([2.0] * 40, fallen, 0.5) == pytest.approx(3.606 - 0.5, abs=1e-3)
    assert gap.observe([3.0] * 40, fallen, 0.5) == pytest.approx(3.606 - 1.0, abs=1e-3)  # the proxy rises on, gold stays
    assert gap.observe([2.5] * 40, [1.0] * 40, 0.5) == 0  # gold is back at its best


def test_a_slow_fall_shows_against_the_best() -> None:
    gap = ProxyGoldGap()
    for wrong in range(0, 21):
        apart = gap.observe([0.0] * 400, [0.0] * wrong + [1.0] * (400 - wrong), 2.0)
    assert gap.cusum == 0  # a 400th at a time is one standard error
    assert apart == pytest.approx(20 / 400 / (20 * 380 / 400**2 / 399) ** 0.5 - 1)  # 4.58 standard errors, less one


def gaps_while_gold_falls(unjudged: Callable[[int], Collection[int]]) -> list[float]:
    """Gold of 40 items falls from 0.9 to 0.1 while the proxy rises; ``unjudged`` gives the items without gold by evaluation."""
    gap, found = ProxyGoldGap(), []
    for number, right in enumerate(range(36, 3, -4)):
        gold = [None if item in unjudged(number) else float(item < right) for item in range(40)]
        proxy = [None if value is None else float(number) for value in gold]
        found.append(gap.observe(proxy, gold, 0.5))
    return found


UNJUDGED: dict[str, Callable[[int], Collection[int]]] = {
    "one in every second": lambda number: {number} if number % 2 else (),
    "another each time": lambda number: {number},
    "halves in turn": lambda number: range(number % 2, 40, 2),
}


@pytest.mark.parametrize("unjudged", UNJUDGED.values(), ids=UNJUDGED)
def test_items_that_gold_cannot_judge_do_not_hide_its_fall(unjudged: Callable[[int], Collection[int]]) -> None:
    every = gaps_while_gold_falls(lambda _: ())
    assert every[:2] == [0, pytest.approx(2.082 - 0.5, abs=1e-3)]  # mean -1/10, deviation 0.3038, error 0.0480
    assert every == sorted(every) and every[-1] > 12
    found = gaps_while_gold_falls(unjudged)
    assert found == sorted(found) and found[-1] > every[-1] / 2


def test_items_are_paired_by_their_place() -> None:
    gap = ProxyGoldGap()
    gap.observe([0.0] * 5, [None, 1.0, 1.0, 1.0, 0.0], 0.0)
    gap.observe([0.0] * 5, [1.0, 0.0, 0.0, 1.0, None], 0.0)  # changes -1, -1, 0: mean -2/3, variance 1/3, error 1/3
    assert gap.cusum == pytest.approx(2)


def test_an_item_that_gold_cannot_judge_is_compared_with_its_last_judgement() -> None:
    gap = ProxyGoldGap()
    gap.observe([0.0] * 40, [1.0] * 40, 0.0)
    assert gap.observe([1.0] * 40, [*[None] * 38, 1.0, 1.0], 0.0) == 0
    gap.observe([2.0] * 40, [0.0] * 10 + [1.0] * 30, 0.0)
    assert gap.cusum == pytest.approx(3.606, abs=1e-3)


def test_an_evaluation_with_few_judgements_is_best_for_those_alone() -> None:
    gap = ProxyGoldGap()
    gap.observe([0.0] * 4, [1.0, 1.0, 0.0, None], 0.0)
    gap.observe([1.0] * 4, [None, None, 1.0, 1.0], 0.0)  # better where both are judged
    assert (gap.best, gap.best_proxy) == ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    gap.observe([2.0] * 4, [0.0, 0.0, 0.0, 0.0], 0.0)
    assert (gap.best, gap.best_proxy) == ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0])


def test_a_fall_that_the_proxy_shares_is_no_gap() -> None:
    gap = ProxyGoldGap()
    for level in range(10):
        items = [1.0] * (40 - 2 * level) + [0.0] * 2 * level
        assert gap.observe(items, items, 0.5) == 0


def test_a_second_opinion_counts_each_item_once_with_its_mean() -> None:
    whole, half = ([0.0] * 40, [1.0] * 40), ([1.0] * 40, [0.0] * 10 + [1.0] * 30)
    # ten items fall from 1 to 1/2: mean -1/8, deviation 0.2193, error 0.03467. Eighty pairs would give more
    assert fall_on_other_draws([whole, whole], [whole, half]) == pytest.approx(3.606, abs=1e-3)
    assert fall_on_other_draws([whole, whole], [whole, whole]) == 0


def test_a_second_opinion_is_of_the_judgements_that_there_are() -> None:
    best = [([0.0] * 3, [1.0, None, 1.0]), ([0.0] * 3, [1.0, None, None])]
    now = [([0.0] * 3, [0.0, 0.0, None]), ([0.0] * 3, [1.0, 0.0, 1.0])]
    assert fall_on_other_draws(best, now) == pytest.approx(1)  # changes -1/2, none, 0: mean -1/4, error 1/4


def test_the_limit_of_a_spike_is_six_deviations_or_twice_the_median() -> None:
    assert spike_limit([1.0, 2.0, 4.0, 8.0, 16.0], 6.0) == pytest.approx(4 * 2**6)  # deviations of 2, 1, 0, 1, 2 doublings
    assert spike_limit([2.0] * 5, 6.0) == pytest.approx(4)


def test_a_spike_does_not_raise_the_limit_for_the_next() -> None:
    spikes = GradientSpikes()
    assert [spikes.observe(step, 1.0 if step < 30 else 50.0, 6.0) for step in range(35)] == [False] * 34 + [True]
    assert set(spikes.norms) == {1.0}
