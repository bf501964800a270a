"""Power of approximate randomization is the rate at which that test rejects."""

import numpy as np
import pytest

from ratchet.components.statistics.chrf import chrf, ngram_tallies
from ratchet.components.statistics.classification import macro_f1, matthews_correlation, tallies
from ratchet.components.statistics.intervals import Floats
from ratchet.components.statistics.paired import approximate_randomization
from ratchet.components.statistics.power import power_to_detect
from ratchet.components.statistics.randomization_power import RandomizationPower

ALPHA = 0.05


def arm(rng: np.random.Generator, references: np.ndarray, right: float) -> Floats:
    return tallies(references, np.where(rng.random(len(references)) < right, references, 3), 3)


def of_dev(alpha: float = ALPHA, ours: float = 0.75, theirs: float = 0.7, items: int = 300) -> RandomizationPower:
    rng = np.random.default_rng(0)
    references = rng.choice(3, items, p=[0.6, 0.3, 0.1])
    return RandomizationPower(arm(rng, references, ours), arm(rng, references, theirs), macro_f1, alpha)


def test_without_a_gain_the_power_is_the_level_and_of_nothing_zero() -> None:
    assert of_dev().power(0.0, 150) == pytest.approx(ALPHA, abs=0.05)
    assert of_dev().power(0.5, 0) == 0


def test_power_rises_with_the_gain_and_with_the_items() -> None:
    found = of_dev()
    powers = [found.power(gain, 150) for gain in (0.0, 0.05, 0.1, 0.2)]
    assert powers == sorted(powers)
    assert powers[-1] > 0.9
    assert found.power(0.1, 50) < found.power(0.1, 300)


def accuracy(counts: Floats) -> Floats:
    share: Floats = counts[..., 0, :].sum(axis=-1) / counts[..., 1, :].sum(axis=-1)
    return share


def test_of_a_measure_that_is_a_mean_it_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(1)
    references = rng.choice(3, 400)
    found = RandomizationPower(arm(rng, references, 0.7), arm(rng, references, 0.7), accuracy, 0.01)
    discordance = found.deviation**2  # of differences that are -1, 0 and 1
    assert found.power(0.1, 300) == pytest.approx(power_to_detect(0.1, discordance, 300, 0.01), abs=0.1)


def test_the_simulated_arms_have_the_gain_that_was_asked_for() -> None:
    found = of_dev()
    for gain in (0.02, 0.15, 0.3):  # the last needs answers that neither arm gave
        assert found._gain(found._favour(gain)) == pytest.approx(gain, abs=1e-6)
    assert found._favour(0.15) < 1 < found._favour(0.5)


def test_of_chrf_likewise_up_to_the_references_themselves() -> None:
    pairs = [("abcd", "abed"), ("xbcde", "abcde"), ("a", "abc"), ("abcdef", "abcdef")] * 10
    ours, theirs = (np.array([ngram_tallies(text[cut:], reference) for text, reference in pairs]) for cut in (0, 1))
    found = RandomizationPower(ours.astype(float), theirs.astype(float), chrf, ALPHA)
    for gain in (0.02, 0.1, 0.3):
        assert found._gain(found._favour(gain)) == pytest.approx(gain, abs=1e-6)
    assert chrf(found.right.sum(axis=0)) == 1
    assert found.power(0.1, 100) > found.power(0.1, 25)


def test_a_gain_that_cannot_be_counts_as_the_largest_that_can() -> None:
    perfect = of_dev(ours=1.0, theirs=0.99)
    assert 0 < perfect.largest < 0.1
    assert perfect.power(0.9, 20) == perfect.power(0.5, 20) < 0.5
    assert perfect.detectable(20) == np.inf
    assert perfect.needed(0.5) is None


def test_of_one_class_matthews_correlation_can_gain_nothing() -> None:
    one = tallies(np.zeros(50, dtype=int), np.arange(50) % 2, 2)
    nothing = RandomizationPower(one, one, matthews_correlation, ALPHA)
    assert (nothing.largest, nothing.needed(0.1), nothing.detectable(10_000)) == (0, None, np.inf)


def test_arms_that_answer_alike_leave_room_for_gains_alone() -> None:
    rng = np.random.default_rng(2)
    alike = arm(rng, rng.choice(3, 200), 0.7)
    found = RandomizationPower(alike, alike, macro_f1, ALPHA)
    assert found.deviation == 1  # nothing is known of it
    assert found.power(0.2, 100) > 0.9


def test_the_test_itself_rejects_as_often_as_foretold() -> None:
    rng, rejected, runs = np.random.default_rng(3), 0, 300
    for _ in range(runs):
        references = rng.choice(3, 200, p=[0.6, 0.3, 0.1])
        ours, theirs = arm(rng, references, 0.8), arm(rng, references, 0.7)
        rejected += approximate_randomization(ours, theirs, macro_f1, None, rng, 199, 20) <= ALPHA
    # An answer that is not right names no class: F1 is 2 r / (1 + r), so that 0.8 and 0.7 are 0.889 and 0.824.
    foretold = of_dev(ours=0.8, items=2000).power(2 * 0.8 / 1.8 - 2 * 0.7 / 1.7, 200)
    assert rejected / runs == pytest.approx(foretold, abs=0.12)  # three standard errors of either, together
