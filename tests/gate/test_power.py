"""The power of the primary tests is known from dev alone."""

import math

import pytest

from ratchet.components.evaluation.comparison import compare
from ratchet.components.gate.power import Power, power_at, power_from, questions, shortfall
from ratchet.components.recipe import Primary, Rules
from tests.gate.test_rules import RULES, arms, share
from tests.gate.test_rules_of_groups import in_groups

ALPHA = RULES.alpha_epoch / RULES.uses_per_epoch


def power(right: int, before: int, items: int, rules: Rules = RULES) -> Power:
    dev = arms(share(right), share(before))
    return power_from(compare(dev, [one.measure for one in rules.primaries]), rules, items, ALPHA)


def of_spread(spread: float, rules: Rules) -> Power:
    return power_at(spread, False, questions(rules, 200, 0.05, 0.1)[0], "dev results")


def test_power_comes_from_dev_and_the_number_of_sealed_items() -> None:
    # a tenth is discordant, no more than the target effect itself
    assert shortfall(power(270, 240, 400)) is None
    # (2.8905 + 0.8416)^2 = 13.929, x (0.1 - 0.01) / 0.01 = 125.4
    assert "126 items are needed" in (shortfall(power(270, 240, 50)) or "")


def test_without_dev_results_every_item_counts_as_discordant() -> None:
    # 13.929 x (1 - 0.01) / 0.01 = 1378.95
    nothing = power_from(compare(arms([], []), ["accuracy"]), RULES, 500, ALPHA)
    assert "1379 items are needed" in (shortfall(nothing) or "")


def test_power_does_not_ask_who_won() -> None:
    assert power(40, 10, 400) == power(10, 40, 400)


def test_the_power_of_another_measure_is_that_of_its_spread() -> None:
    rules = Rules(primary=Primary(measure="reward"), target_effect=0.1)
    found = of_spread(0.5, rules)
    # (1.644854 + 0.841621)^2 x 25 = 154.6
    assert found.needed == 155
    assert shortfall(found) is None
    # Phi(0.1 sqrt(200) / 0.5 - 1.644854) = Phi(1.18357)
    assert found.power == pytest.approx(0.8817, abs=1e-3)


def test_only_what_is_beyond_the_least_effect_counts() -> None:
    rules = Rules(primary=Primary(measure="reward", min_effect=0.05), target_effect=0.1)
    assert of_spread(0.5, rules).needed == pytest.approx(4 * 154.6, abs=1)


def test_a_spread_that_is_unknown_is_the_worst_there_is() -> None:
    rules = Rules(primary=Primary(measure="pass@2"))
    assert of_spread(math.nan, rules).spread == 1
    unbounded = of_spread(math.nan, Rules(primary=Primary(measure="reward")))
    assert "no number of items" in (shortfall(unbounded) or "")


def test_the_power_of_a_bounded_measure_is_simulated_from_dev_rows() -> None:
    rules = Rules(primary=Primary(min_effect=0.01), target_effect=0.1)
    found = power(270, 240, 400, rules)
    assert (found.binary, found.source) == (False, "dev results")
    assert 0.01 < found.detectable < 0.1 < found.power
    assert found.needed is not None and found.needed < 400
    assert shortfall(power(270, 240, 5, rules)) is not None


def test_the_power_is_that_of_the_test_which_is_asked_for() -> None:
    """One group of half the items leaves Student's t one degree of freedom, and changes little for the sign-flip test."""
    dev = compare(in_groups(arms(share(240), share(200)), [150] + [5] * 30), ["accuracy"])
    flipped, studentized = (
        power_from(dev, Rules(primary=Primary(test=test), target_effect=0.2), 300, 0.05).power
        for test in ("sign_flip", "clustered_t")
    )
    assert studentized < flipped - 0.1


def test_the_groups_of_the_fold_count_where_dev_was_measured_without_any() -> None:
    rules = Rules(primary=Primary(min_effect=0.01), target_effect=0.1)
    dev = compare(arms(share(270), share(240)), ["accuracy"])
    found = power_from(dev, rules, 400, ALPHA, groups=5)
    assert (found.groups, found.power) == (5, power_from(dev, rules, 5, ALPHA).power)


def test_dev_results_without_any_difference_leave_the_spread_unknown() -> None:
    rules = Rules(primary=Primary(measure="reward"))
    assert "no number of items" in (shortfall(power(270, 270, 400, rules)) or "")


def test_a_group_of_items_counts_as_one_observation() -> None:
    asked = questions(Rules(target_effect=0.3), 70, 0.05, 0.3, groups=7)[0]
    found = power_at(0.5, False, asked, "assumption")
    # (1.644854 + 0.841621) x 0.5 / sqrt(7) = 0.4699; (2.486475 x 0.5 / 0.3)^2 = 17.17 groups of ten items
    assert found.detectable == pytest.approx(0.4699, abs=1e-3)
    assert found.needed == 180
    assert shortfall(found) == (
        "70 sealed items in 7 groups, each of which counts as one, can detect a gain of 0.470 with power 0.8, not the wanted "
        "0.300: 180 items in 18 groups, each of which counts as one, are needed. Add data, or raise gate.rules.target_effect."
    )


def test_where_no_gain_is_detectable_a_larger_target_is_no_remedy() -> None:
    asked = questions(Rules(target_effect=0.9), 20, 0.001, 0.9, groups=2)[0]
    said = shortfall(power_at(0.5, False, asked, "assumption"))
    assert said is not None
    assert "can detect no gain with power 0.8, not the wanted 0.900" in said
    assert said.endswith("are needed. Add data.")
